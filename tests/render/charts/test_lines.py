"""Lines: training curves, gradients by depth, and a metric over many runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from bench.records.run_folder import Model, Run, RunHeader
from bench.regression.history import RunPoint, Series
from bench.render.charts import Chart, frame
from bench.render.charts.frame import style
from bench.render.charts.lines import gradient_flow_charts, history_chart, training_curves
from bench.render.results import read_results
from bench.render.results.kept import Kept, own_currency
from bench.stats import ChangePoint
from tests.render.conftest import RunBuilder, curve, kept_figures, ok, overlaps, training

NAMES = ("a_cifar", "b_cifar", "c_cifar")


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "save_png", lambda figure: b"")  # most of the time of a figure


def trained(build: RunBuilder, names: tuple[str, ...] = NAMES, budget: str = "20s", **changes: object) -> Run:
    """Networks with a curve of one seed each, which ends at 0.5, 0.6, ... after 5000, 50000, ... images."""
    rows = [row for i, name in enumerate(names) for row in training(name, 0.5 + 0.1 * i, budget=budget)]
    run = build(rows, budget=budget, **changes)
    run.curves.mkdir()
    for i, name in enumerate(names):
        curve(0.5 + 0.1 * i, 5000 * 10**i).to_parquet(run.table_path("curves", name, "seed0"))
    return run


def drawn(run: Run) -> dict[str, Chart]:
    results = read_results(run)
    kept = Kept(run, results.models)
    curves = kept.curves()
    assert not kept.unreadable
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
    assert f" against {own} for 3 networks on cifar10" in figures["cifar-curves-loss"].alt


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


def test_curves_of_another_budget_are_not_mixed_in(build: RunBuilder) -> None:
    run = trained(build, other_budgets=["10ep"])
    before = drawn(run)
    curve(0.9, 10**7).to_parquet(run.table_path("curves", "a_cifar", "seed0-10ep"))
    curves = Kept(run, ()).curves()
    assert sorted((c.model, c.seed, c.budget) for c in curves)[:2] == [("a_cifar", 0, ""), ("a_cifar", 0, "10ep")]
    assert drawn(run) == before


def test_a_curve_belongs_to_the_network_whatever_its_name(tmp_path: Path) -> None:
    run = Run(tmp_path, RunHeader())
    run.curves.mkdir()
    names = ("timm:x/y", "a-seed1", "../b", "../../../escaped", "| cell | `code`")
    for name in names:
        curve(0.5, 100).to_parquet(run.table_path("curves", name, "seed12-0.5ep"))
    curves = Kept(run, ()).curves()
    assert {(c.model, c.seed, c.budget) for c in curves} == {(name, 12, "0.5ep") for name in names}
    assert len(run.table_path("curves", "x" * 400, "seed12-0.5ep").name) < 255  # what a file's name may be


def test_a_network_whose_name_is_longer_than_a_files_may_be_keeps_its_curve(tmp_path: Path) -> None:
    name = f"timm:x,{'a=1,' * 60}depth=2"
    run = Run(tmp_path, RunHeader())
    run.curves.mkdir()
    curve(0.5, 100).to_parquet(run.table_path("curves", name, "seed3-0.5ep"))
    (found,) = Kept(run, [Model("another"), Model(name)]).curves()
    assert (found.model, found.seed, found.budget) == (name, 3, "0.5ep")


def test_one_accuracy_is_no_curve(build: RunBuilder) -> None:
    run = build(training("a_cifar", 0.5))
    run.curves.mkdir()
    steps = curve(0.5, 5000)
    steps["test_top1"] = [math.nan] * 199 + [0.5]
    steps.to_parquet(run.curves / "a_cifar-seed0.parquet")
    assert set(drawn(run)) == {"cifar-curves-loss"}


# --- Gradients by depth ---

VARIANTS = [(a, i, False) for a in ("sigmoid", "tanh", "relu") for i in ("he", "small_normal")]
VARIANTS += [("relu", "he", True), ("relu", "small_normal", True)]


def flow(ratio: float, depth: int = 5, steps: tuple[int, ...] = (0, 6, 12)) -> pd.DataFrame:
    """Norms from `ratio` at the first convolution to 1 at the last, ten times larger after training; sigmoid: none."""
    return pd.DataFrame(
        {
            "activation": activation,
            "initialisation": initialisation,
            "batch_norm": batch_norm,
            "step": step,
            "depth": place + 1,
            "gradient_norm": 0.0
            if (activation, initialisation, place) == ("sigmoid", "small_normal", 0)
            else ratio ** (1 - place / (depth - 1)) * (10 if step else 1),
        }
        for (activation, initialisation, batch_norm), step, place in itertools.product(VARIANTS, steps, range(depth))
    )


def points(line: Line2D) -> np.ndarray:
    """(n, 2)"""
    return np.asarray(line.get_xydata(), dtype=float)


@pytest.fixture
def saved() -> Iterator[list[Figure]]:
    """The figures that are drawn, in place of their files."""
    with kept_figures() as kept:
        yield kept


def draw(build: RunBuilder, flows: dict[str, pd.DataFrame]) -> list[Chart]:
    run = build(ok(name, "gradient_norm_ratio", 0.5, batch_size=16, note="on fixture images") for name in flows)
    run.curves.mkdir()
    for name, rows_of in flows.items():
        rows_of.to_parquet(run.table_path("curves", name, "gradient_flow"))
    results = read_results(run)
    kept = Kept(run, results.models)
    found = kept.gradient_flows()
    assert not kept.unreadable
    with style():
        return gradient_flow_charts(results, found)


def test_twins_of_one_depth_share_a_figure_of_eight_panels(build: RunBuilder, saved: list[Figure]) -> None:
    flows = {"plain20_cifar": flow(1e-6), "resnet20_cifar": flow(1e-2), "plain56_cifar": flow(1e-9, depth=9)}
    charts = draw(build, flows)
    assert [chart.name for chart in charts] == ["gradient-flow-20", "gradient-flow-56"]
    assert charts[0].title == "Gradient that reaches each layer of Plain-20 and ResNet-20"
    assert [len(figure.axes) for figure in saved] == [8, 8]
    for axes in saved[0].axes:
        assert axes.get_yscale() == "log"
        assert len(axes.lines) == 4  # two networks, at initialisation and after training
        plain, plain_trained = (points(line) for line in axes.lines[:2])
        assert list(plain[:, 0]) == [1, 2, 3, 4, 5]
        assert (plain[-1, 1], plain_trained[-1, 1]) == pytest.approx((1.0, 10.0))
    # what the table and the claims say, a median over draws, and not the ratio of the medians that are drawn
    assert "with ReLU 0.5 in Plain-20 and 0.5 in ResNet-20" in charts[0].caption


def test_a_norm_of_zero_is_on_the_axis_and_named(build: RunBuilder, saved: list[Figure]) -> None:
    draw(build, {"plain20_cifar": flow(1e-6)})
    (figure,) = saved
    by_title = {axes.get_title(loc="left"): axes for axes in figure.axes}
    starved = by_title["Sigmoid, std 0.01"]
    assert [text.get_text() for text in starved.texts] == ["0 in fp32"]
    assert starved.get_ylim()[0] < points(starved.lines[0])[0, 1] < 1e-40
    assert not by_title["ReLU, He's weights"].texts


def test_a_training_that_ended_early_is_drawn_at_initialisation(build: RunBuilder, saved: list[Figure]) -> None:
    (chart,) = draw(build, {"plain20_cifar": flow(1e-6, steps=(0,))})
    assert {sum(len(points(line)) > 0 for line in axes.lines) for axes in saved[0].axes} == {1}
    assert chart.caption


# --- A metric over many runs ---

RUNS = 6


def series(number: int, changes: tuple[ChangePoint, ...] = ()) -> Series:
    level = 2.0 if changes else 1.0
    points = tuple(
        RunPoint(f"run{n}", f"2026-01-0{n + 1}", "abc", 10.0 if n < 3 else 10.0 * level + number / 100, (9.0, 11.0))
        for n in range(RUNS)
    )
    return Series(f"network{number}_cifar", "latency_ms", ("batch 1",), points, changes)


def test_names_beside_the_ends_of_lines_stay_apart_and_the_rest_is_told() -> None:
    changed = series(0, (ChangePoint(3, 2.0, 0.001),))
    with kept_figures() as kept:
        chart = history_chart([*(series(n) for n in range(1, 40)), changed], "GPU")
    assert chart.alt.endswith("changed: network0_cifar.")
    names = [text for text in kept[0].axes[0].texts if isinstance(text, Annotation) and text.get_text()]
    assert names[0].get_text() == "network0_cifar"  # what changed comes first
    assert overlaps(kept[0], names) == []
    assert f"No room for the names of network{len(names)}_cifar" in chart.caption


def test_an_axis_of_a_history_has_ticks_wherever_its_lines_go() -> None:
    one = series(1)
    slower = replace(one.points[-1], value=0.2, commit="11768a47cf78+")
    with kept_figures() as kept:
        history_chart([replace(one, points=(*one.points[:-1], slower))], "GPU")
    axes = kept[0].axes[0]
    words = axes.yaxis.get_major_formatter().format_ticks(list(axes.get_yticks()))
    assert words == ["−98 %", "−95 %", "−90 %", "−80 %", "−50 %", "0 %"]
    assert axes.get_xticklabels()[-1].get_text().endswith("\n11768a47+")


def test_few_lines_are_all_named() -> None:
    with kept_figures() as kept:
        chart = history_chart([series(1), series(2)], "GPU")
    assert chart.caption == ""
    assert [text.get_text() for text in kept[0].axes[0].texts if text.get_text()] == [
        "network1_cifar",
        "network2_cifar",
    ]
