"""The chart of gradients by depth: a panel per variant, both twins, and what vanished said as such."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.render.charts.curves import gradient_flow_charts
from bench.render.charts.frame import Chart, style
from bench.render.results.kept import read_gradient_flows
from bench.render.results.table import read_results
from tests.render.conftest import RunBuilder, kept_figures, listed, ok

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
    models = [listed(name, name[:5], 2015, "cifar") for name in flows]
    rows = [ok(name, "gradient_norm_ratio", 0.5, batch_size=16, note="on fixture images") for name in flows]
    run = build(models, rows)
    run.curves.mkdir()
    for name, rows_of in flows.items():
        rows_of.to_parquet(run.curve_path(name, "gradient_flow"))
    found, unreadable = read_gradient_flows(run.curves)
    assert not unreadable
    results = read_results(run)
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
    assert "with ReLU 1e-06 in Plain-20 and 0.01 in ResNet-20" in charts[0].caption


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


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a_cifar-gradient_flow.parquet").write_bytes(b"PAR1 torn")
    assert read_gradient_flows(tmp_path) == ([], ["a_cifar-gradient_flow.parquet"])
    assert read_gradient_flows(tmp_path / "absent") == ([], [])
