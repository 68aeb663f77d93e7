"""A metric over many runs: every line is named as far as there is room, and those without are told."""

from __future__ import annotations

import itertools

from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from bench.regression.history import Point, Series
from bench.render.charts.frame import style
from bench.render.charts.runs import history_chart
from bench.stats.change_points import ChangePoint
from tests.render.conftest import kept_figures

RUNS = 6


def series(number: int, changes: tuple[ChangePoint, ...] = ()) -> Series:
    level = 2.0 if changes else 1.0
    points = tuple(
        Point(f"run{n}", f"2026-01-0{n + 1}", "abc", 10.0 if n < 3 else 10.0 * level + number / 100, (9.0, 11.0))
        for n in range(RUNS)
    )
    return Series(f"network{number}_cifar", "latency_ms", "batch 1", points, changes)


def test_names_beside_the_ends_of_lines_stay_apart_and_the_rest_is_told() -> None:
    changed = series(0, (ChangePoint(3, 2.0, 0.001),))
    with kept_figures() as kept:
        chart = history_chart([*(series(n) for n in range(1, 40)), changed], "GPU")
    assert chart.alt.endswith("changed: network0_cifar.")
    with style():
        kept[0].draw_without_rendering()
        names = [text for text in kept[0].axes[0].texts if isinstance(text, Annotation) and text.get_text()]
        boxes = [Text.get_window_extent(text) for text in names]
    assert names[0].get_text() == "network0_cifar"  # what changed comes first
    assert not [True for a, b in itertools.combinations(boxes, 2) if Bbox.intersection(a, b) is not None]
    assert f"No room for the names of network{len(names)}_cifar" in chart.caption


def test_few_lines_are_all_named() -> None:
    with kept_figures() as kept:
        chart = history_chart([series(1), series(2)], "GPU")
    assert chart.caption == ""
    assert [text.get_text() for text in kept[0].axes[0].texts if text.get_text()] == [
        "network1_cifar",
        "network2_cifar",
    ]
