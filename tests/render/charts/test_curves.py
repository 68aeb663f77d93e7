"""Training curves against images, seconds and FLOPs, and what a folder of curves may hold."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bench.metrics import METRICS
from bench.records.run_folder import Run
from bench.records.run_json import RunHeader
from bench.render.charts import Chart, frame
from bench.render.charts.curves import training_curves
from bench.render.charts.frame import style
from bench.render.results.kept import own_currency, read_curves
from bench.render.results.table import read_results
from tests.render.conftest import RunBuilder, curve, kept_figures, listed, ok, training

NAMES = ("a_cifar", "b_cifar", "c_cifar")


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "save_png", lambda figure: b"")  # most of the time of a figure


def trained(build: RunBuilder, names: tuple[str, ...] = NAMES, budget: str = "20s", **changes: object) -> Run:
    """Networks with a curve of one seed each, which ends at 0.5, 0.6, ... after 5000, 50000, ... images."""
    rows = [row for i, name in enumerate(names) for row in training(name, 0.5 + 0.1 * i, budget=budget)]
    run = build([listed(name, name, 2015, "cifar") for name in names], rows, budget=budget, **changes)
    run.curves.mkdir()
    for i, name in enumerate(names):
        curve(0.5 + 0.1 * i, 5000 * 10**i).to_parquet(run.curve_path(name, "seed0"))
    return run


def drawn(run: Run) -> dict[str, Chart]:
    curves, unreadable = read_curves(run.curves)
    assert not unreadable
    results = read_results(run)
    (group,) = results.accuracy_groups()
    with style():
        charts = training_curves(results, group, curves, "cifar", everything=True)
    return {chart.name: chart for chart in charts if chart is not None}


@pytest.mark.parametrize(
    ("budget", "own", "others"),
    [
        ("20s", "training time", {"images", "flops"}),
        ("10ep", "images trained on", {"seconds", "flops"}),
        ("50kimg", "images trained on", {"seconds", "flops"}),
        ("0.5pflop", "training FLOPs", {"images", "seconds"}),
    ],
)
def test_accuracy_is_drawn_against_every_currency_and_loss_against_that_of_the_budget(
    build: RunBuilder, budget: str, own: str, others: set[str]
) -> None:
    figures = drawn(trained(build, budget=budget))
    assert set(figures) == {
        "cifar-curves-loss",
        "cifar-curves-top1",
        *(f"cifar-curves-top1-by-{other}" for other in others),
    }
    assert figures["cifar-curves-top1"].title == f"Test accuracy against {own}"
    assert figures["cifar-curves-loss"].title == f"Training loss against {own}"


def test_an_unknown_budget_counts_images() -> None:
    assert own_currency("a while") == "images"


def test_curves_end_where_training_ended(build: RunBuilder) -> None:
    with kept_figures() as saved:
        drawn(trained(build))
    by_label = {figure.axes[0].get_xlabel() + figure.axes[0].get_ylabel(): figure.axes[0] for figure in saved}
    time = by_label["Training time" + "Test accuracy (%)"]
    assert (time.get_xscale(), time.get_xlim()[0]) == ("linear", 0)
    images = by_label["Images trained on" + "Test accuracy (%)"]
    assert images.get_xscale() == "log"
    lines = [np.asarray(line.get_xydata(), dtype=float) for line in images.lines]
    ends = sorted(tuple(points[-1]) for points in lines if len(points) > 2)
    assert ends == [(5000 * 10**i, pytest.approx(0.5 + 0.1 * i)) for i in range(3)]
    left, right = images.get_xlim()
    assert left < 5000 / 4 < 500_000 < right
    # Every name is within the axes, beside the end of its line.
    assert {text.get_text() for text in images.texts} >= {"a", "b", "c"}


def test_an_accuracy_that_is_timed_is_marked_where_it_was_reached(build: RunBuilder) -> None:
    timed = [name for name in METRICS if name.startswith("seconds_to_")]
    assert timed
    percent = timed[0].removeprefix("seconds_to_")
    run = trained(build)
    with run.writer() as writer:
        writer.append(
            ok(name, timed[0], seconds, dataset="cifar10", budget="20s")
            for name, seconds in (("b_cifar", 11.0), ("c_cifar", 7.5))
        )
    figure = drawn(run)["cifar-curves-top1"]
    assert f"{percent} % is reached by 2 of 3 networks, first by c_cifar (7.50 s)." in figure.caption
    assert "reached" not in drawn(run)["cifar-curves-loss"].caption


def test_curves_of_another_budget_are_not_mixed_in(build: RunBuilder) -> None:
    run = trained(build, other_budgets=["10ep"])
    before = drawn(run)
    curve(0.9, 10**7).to_parquet(run.curve_path("a_cifar", "seed0-10ep"))
    curves, _ = read_curves(run.curves)
    assert sorted((c.model, c.seed, c.budget) for c in curves)[:2] == [("a_cifar", 0, ""), ("a_cifar", 0, "10ep")]
    assert drawn(run) == before


def test_a_curve_belongs_to_the_network_whatever_its_name(tmp_path: Path) -> None:
    run = Run(tmp_path, RunHeader())
    run.curves.mkdir()
    for name in ("timm:x/y", "a-seed1", "../b"):
        curve(0.5, 100).to_parquet(run.curve_path(name, "seed12-0.5ep"))
    curves, _ = read_curves(run.curves)
    assert {(c.model, c.seed, c.budget) for c in curves} == {
        (name, 12, "0.5ep") for name in ("timm:x/y", "a-seed1", "../b")
    }


def test_one_accuracy_is_no_curve(build: RunBuilder) -> None:
    run = build([listed("a_cifar", "a", 2015, "cifar")], training("a_cifar", 0.5))
    run.curves.mkdir()
    steps = curve(0.5, 5000)
    steps["test_top1"] = [math.nan] * 199 + [0.5]
    steps.to_parquet(run.curves / "a_cifar-seed0.parquet")
    assert set(drawn(run)) == {"cifar-curves-loss"}


def test_a_damaged_curve_is_named_and_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "a_cifar-seed0.parquet").write_bytes(b"PAR1 torn")
    curve(0.5, 100).drop(columns="seconds").to_parquet(tmp_path / "b_cifar-seed0.parquet")
    assert read_curves(tmp_path) == ([], ["a_cifar-seed0.parquet", "b_cifar-seed0.parquet"])
    assert read_curves(tmp_path / "absent") == ([], [])
