"""The files of a run beside its records: what is whole is read, what is damaged is left out and named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.records.run_folder import Run
from bench.render.results import read_results
from bench.render.results.kept import COLUMNS, Kept
from tests.render.conftest import RunBuilder, curve, listed, training

LAYER = ("conv", "Conv2d", [8, 32, 32], 224, 300, 8192, 32768.0)


@pytest.fixture
def run(build: RunBuilder) -> Run:
    return build(training("a_cifar", 0.4), [listed(name, track="cifar") for name in ("a_cifar", "b:c/d_cifar")])


def table(run: Run, folder: str, model: str, kind: str, content: pd.DataFrame | None) -> Path:
    """One table of a run, in its file; None: a torn one."""
    path = run.table_path(folder, model, kind)
    path.parent.mkdir(exist_ok=True)
    if content is None:
        path.write_bytes(b"PAR1 torn")
    else:
        content.to_parquet(path)
    return path


def read(run: Run) -> tuple[list[object], list[str]]:
    """What a run kept, of each kind that is not empty, and the names of the files that are damaged."""
    results = read_results(run)
    kept = Kept(run, results.models)
    accuracies = results.cell(results.models[0], "top1").records
    found = kept.curves(), kept.gradient_flows(), kept.layers(), kept.networks(), kept.confusions(accuracies, 3)
    return [each for each in found if each], kept.unreadable


def test_a_run_that_kept_nothing_has_nothing(run: Run) -> None:
    assert read(run) == ([], [])


def test_layers_are_told_by_the_names_of_their_networks(run: Run) -> None:
    table(run, "layers", "b:c/d_cifar", "", pd.DataFrame([LAYER], columns=list(COLUMNS)))
    kept = Kept(run, read_results(run).models)
    (found,) = kept.layers().values()
    assert (found.model, found.rows["saved_activation_bytes"].sum(), kept.unreadable) == ("b:c/d_cifar", 32768, [])


@pytest.mark.parametrize(
    ("folder", "kind", "content"),
    [
        ("curves", "seed0", None),
        ("curves", "seed0", curve(0.5, 100).drop(columns="seconds")),
        ("curves", "gradient_flow", None),
        ("layers", "", None),
        ("layers", "", pd.DataFrame()),
        ("layers", "", pd.DataFrame({"layer": [1], "operation": [2]})),
        ("layers", "", pd.DataFrame([("a", "b", 3, 1, 1, 1, 1)], columns=list(COLUMNS))),
        ("layers", "", pd.DataFrame([("a", "b", [3], "c", "d", 1, None)], columns=list(COLUMNS))),
        ("confusions", "seed0", None),
        *(
            ("confusions", "seed0", pd.DataFrame([of_no_class], columns=["label", "predicted", "count"]))
            for of_no_class in ((3, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 0, -1))
        ),
    ],
)
def test_a_damaged_table_is_left_out_and_named(run: Run, folder: str, kind: str, content: pd.DataFrame | None) -> None:
    path = table(run, folder, "a_cifar", kind, content)
    assert read(run) == ([], [path.name])


def test_damaged_structures_are_left_out_and_named(run: Run) -> None:
    (run.folder / "networks.json").write_text('{"networks": 3}')
    assert read(run) == ([], ["networks.json"])
