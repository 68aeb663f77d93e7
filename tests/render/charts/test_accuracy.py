"""What a data set looks like, and where its most accurate network errs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.records.run_folder import Run
from bench.render.charts import Chart, image_charts
from bench.render.results import read_results
from bench.render.results.kept import Confusions, Kept
from tests.render.conftest import RunBuilder, training

CLASSES = ["cat", "dog", "<b>ship</b>"]
SETS = {"cifar": {"name": "cifar10", "source": "Fixture images.", "classes": CLASSES, "sha256": "aa"}}


def sheet(path: Path, colours: list[int], grey: bool = False) -> None:
    tiles = [np.full((8, 8) if grey else (8, 8, 3), colour, dtype=np.uint8) for colour in colours]
    file = io.BytesIO()
    Image.fromarray(np.concatenate(tiles, axis=1)).save(file, "PNG")
    path.write_bytes(file.getvalue())


def confusions(run: Run, model: str, rows: list[tuple[int, int, int]], seed: int = 0) -> Path:
    path = run.table_path("confusions", model, f"seed{seed}")
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows, columns=["label", "predicted", "count"]).to_parquet(path)
    return path


def charts(run: Run) -> dict[str, Chart]:
    kept = Kept(run, ())
    found = image_charts(read_results(run), kept)
    assert not kept.unreadable
    return {chart.kind: chart for chart in found}


@pytest.fixture
def run(build: RunBuilder) -> Run:
    """b is the better one, over two seeds."""
    rows = [*training("a_cifar", 0.4), *training("b_cifar", 0.5), *training("b_cifar", 0.7, seed=1)]
    return build(rows, image_sets=SETS)


def test_an_image_of_each_class_with_its_name(run: Run) -> None:
    sheet(run.sheet_path("cifar", "cifar10"), [10, 120, 240])
    chart = charts(run)["samples"]
    assert chart.name == "cifar-cifar10-samples"
    assert chart.alt == "Training images of cifar10, one of each of 3 classes: cat, dog, <b>ship</b>."
    assert chart.svg.count("data:image/png;base64,") == 3
    assert "href" not in chart.svg.replace('xlink:href="#', "").replace('xlink:href="data:image/png', "")


@pytest.mark.parametrize("damage", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", None])
def test_without_a_whole_picture_there_is_no_figure(run: Run, damage: bytes | None) -> None:
    if damage is None:
        sheet(run.sheet_path("cifar", "cifar10"), [10, 120, 240])
        damage = run.sheet_path("cifar", "cifar10").read_bytes()[:60]
    run.sheet_path("cifar", "cifar10").write_bytes(damage)
    assert "samples" not in charts(run)


def test_a_grey_set_and_classes_that_are_not_shown(build: RunBuilder) -> None:
    run = build([], image_sets={"mnist": {"name": "mnist", "classes": list(map(str, range(10)))}})
    sheet(run.sheet_path("mnist", "mnist"), [0, 255, 0, 255], grey=True)
    assert charts(run)["samples"].caption == "6 more classes are not shown."


def test_mistakes_of_the_most_accurate_network_over_its_seeds(run: Run) -> None:
    confusions(run, "a_cifar", [(0, 1, 100)])
    confusions(run, "b_cifar", [(0, 0, 80), (0, 1, 20), (1, 1, 100), (2, 2, 95), (2, 0, 5)])
    confusions(run, "b_cifar", [(0, 0, 90), (0, 1, 10), (1, 1, 100), (2, 2, 100)], seed=1)
    chart = charts(run)["confusion"]
    assert chart.caption == (
        "b most often mistakes cat for dog (15.0 % of cat), <b>ship</b> for cat (2.50 % of <b>ship</b>)."
    )
    assert chart.alt == (
        "Confusion matrix of b on cifar10, 3 classes: dog is recognised best (100 %), cat worst (85.0 %)."
    )


def test_no_mistake_at_all(run: Run) -> None:
    confusions(run, "b_cifar", [(0, 0, 9), (1, 1, 9), (2, 2, 9)])
    assert charts(run)["confusion"].caption == "b recognises every test image."


def test_an_output_without_a_class_is_a_mistake_of_its_class(run: Run) -> None:
    confusions(run, "b_cifar", [(0, 0, 1), (0, 7, 3), (1, 1, 1), (2, 2, 1)])
    assert "cat worst (25.0 %)" in charts(run)["confusion"].alt


def test_older_runs_have_no_figures(run: Run) -> None:
    assert charts(run) == {}


@pytest.mark.parametrize("image_sets", [{}, {"cifar": {}}, {"cifar": {"name": "x", "classes": 3}}])
def test_images_that_say_nothing_of_their_classes_are_survived(build: RunBuilder, image_sets: object) -> None:
    run = build(training("a_cifar", 0.4, dataset="x"), image_sets=image_sets)
    assert charts(run) == {}
    assert all(not data_set.classes for data_set in Kept(run, ()).data_sets())


def test_the_most_confused_pairs() -> None:
    counts = np.array([[90, 10, 0], [1, 99, 0], [0, 4, 16]])
    found = Confusions(counts, counts.sum(1))
    assert found.most_confused(2) == [(2, 1, 0.2), (0, 1, 0.1)]
    assert len(found.most_confused(9)) == 3
