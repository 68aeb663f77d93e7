"""Accuracy against a cost: the ball chart (area of a ball = parameters) and its plain sisters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.metrics import METRICS, Metric
from bench.render.charts.figure import (
    Chart,
    add_axes,
    chart_name,
    new_figure,
    save_png,
    save_svg,
    write_title,
)
from bench.render.charts.labels import place_labels
from bench.render.charts.legends import FRONT_DASHES, MARKER_AREA, ball_areas, draw_ball_legend, draw_family_legend
from bench.render.charts.palette import INK, MUTED, PAPER, FamilyStyle, marker_size
from bench.render.conditions import chart_conditions, throughput_conditions
from bench.render.header import Model
from bench.render.pareto import accuracy_front
from bench.render.quantity import axis_label, in_sentence, is_bytes, tick
from bench.render.table import AccuracyGroup, Results

_WIDTH, _HEIGHT = 720.0, 470.0  # of the figure, in points
_AXES = (58.0, 46.0, 508.0, 366.0)
_LEGEND_X = 580.0


def scatter_chart(
    results: Results, group: AccuracyGroup, cost: Metric, styles: Mapping[str, FamilyStyle], stem: str
) -> Chart | None:
    """Test accuracy of a group against one metric; None with fewer than two networks to compare."""
    models = [m for m in group.models if results.cell(m, cost.name).value > 0]
    if len(models) < 2:
        return None
    balls = cost.name == "macs"
    figure, _, unlabelled = draw_scatter(results, group, cost, styles, models, balls=balls)
    title = f"Test accuracy against {in_sentence(cost)}"
    front = [models[i].name for i in accuracy_front(results, models, cost)]
    missing = [model.name for model in group.models if model not in models]
    caption = f"No {in_sentence(cost)} measured for {', '.join(missing)}." if missing else ""
    if unlabelled:
        caption += f" No room for the names of {', '.join(unlabelled)}; the table has them."
    return Chart(
        name=f"{stem}-top1-vs-{cost.name}",
        kind="ball" if balls else "scatter",
        track=group.track,
        title=title,
        alt=(
            f"{'Bubble' if balls else 'Scatter'} chart of test accuracy on {group.dataset} against "
            f"{in_sentence(cost)} for {len(models)} networks. On the Pareto front: {', '.join(front)}."
        ),
        caption=caption.strip(),
        svg=save_svg(figure),
        png=save_png(figure),
    )


def draw_scatter(
    results: Results,
    group: AccuracyGroup,
    cost: Metric,
    styles: Mapping[str, FamilyStyle],
    models: Sequence[Model],
    *,
    balls: bool,
) -> tuple[Figure, Axes, list[str]]:
    """The figure, its main axes and the names of the networks whose labels found no place."""
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = add_axes(figure, *_AXES)
    timed = throughput_conditions(results, models, cost) if cost.probe == "throughput" else ""
    write_title(figure, f"Test accuracy against {in_sentence(cost)}", chart_conditions(results, group))
    axes.set_xlabel(axis_label(cost, timed), loc="left")
    axes.set_ylabel(axis_label(METRICS["top1"]), loc="top")

    x = np.array([results.cell(model, cost.name).value for model in models])
    y = np.array([results.cell(model, "top1").value for model in models])
    _set_cost_axis(axes, x, cost)
    chance_text = _set_accuracy_axis(axes, results, group, models)

    front = accuracy_front(results, models, cost)
    # A staircase: between two networks of the front, the cheaper one is what can be had.
    steps = "steps-post" if cost.better == "lower" else "steps-pre"
    axes.plot(x[front], y[front], drawstyle=steps, color=MUTED, linewidth=1.2, linestyle=FRONT_DASHES, zorder=1.5)
    if balls:
        params = np.array([results.cell(model, "params").value for model in models])
        areas = ball_areas(params)
        colours = [styles[model.family].colour for model in models]
        axes.scatter(x, y, s=areas, c=colours, alpha=0.28, linewidths=0, zorder=2)
        draw_ball_legend(figure, params, (_LEGEND_X, _AXES[1]))
    for model in models:
        _draw_point(axes, results, model, cost, styles[model.family])
    spans = np.array([_spans(results, model, cost) for model in models])
    unlabelled = _label_points(figure, axes, models, spans, [chance_text] if chance_text else [])
    draw_family_legend(figure, models, styles, (_LEGEND_X, _HEIGHT - 58))
    return figure, axes, unlabelled


def _set_cost_axis(axes: Axes, x: np.ndarray, cost: Metric) -> None:
    axes.set_xscale("log", base=2 if is_bytes(cost.unit) else 10)
    low, high = math.log(float(x.min())), math.log(float(x.max()))
    margin = max(0.09 * (high - low), 0.25)
    axes.set_xlim(math.exp(low - margin), math.exp(high + margin))
    if is_bytes(cost.unit):
        octaves = max(1, round((high - low) / math.log(2) / 6))
        axes.xaxis.set_major_locator(LogLocator(base=2**octaves, numticks=20))
    else:
        subs = (1.0,) if high - low > math.log(300) else (1.0, 2.0, 5.0)
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=subs, numticks=20))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, cost.unit)))


def _set_accuracy_axis(
    axes: Axes, results: Results, group: AccuracyGroup, models: Sequence[Model]
) -> tuple[float, float, float, float] | None:
    """Limits of the accuracy axis and the chance line; returns the box of its text as fractions of the axes.

    Chance is on the axis unless that would squeeze the networks into less than a quarter of it: then a
    sentence says where it lies.
    """
    cells = [results.cell(model, "top1") for model in models]
    low = min(cell.low if cell.has_interval else cell.value for cell in cells)
    high = max(cell.high if cell.has_interval else cell.value for cell in cells)
    chance = group.chance
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, "fraction")))
    shown = chance is not None and (high - low) >= (high - chance) / 4
    if shown and chance is not None:
        low, high = min(low, chance), max(high, chance)
    margin = 0.08 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    if chance is None:
        return None
    words = f"chance {tick(chance, 'fraction')}"
    if not shown:
        axes.text(0.995, 0.012, f"{words} is below this axis", transform=axes.transAxes, ha="right", color=MUTED)
        return 0.68, 0.0, 1.0, 0.05
    axes.axhline(chance, color=INK, linewidth=1, linestyle="--", zorder=1.2)
    place = (chance - low + margin) / (high - low + 2 * margin)
    axes.text(0.995, place - 0.012, words, transform=axes.transAxes, ha="right", va="top", color=MUTED)
    return 0.84, place - 0.05, 1.0, place + 0.004


def _spans(results: Results, model: Model, cost: Metric) -> list[float]:
    """Lower limit, value and upper limit of the cost, then of the accuracy."""
    cells = (results.cell(model, cost.name), results.cell(model, "top1"))
    return [
        number
        for cell in cells
        for number in ((cell.low, cell.value, cell.high) if cell.has_interval else (cell.value,) * 3)
    ]


def _draw_point(axes: Axes, results: Results, model: Model, cost: Metric, style: FamilyStyle) -> None:
    x, y = results.cell(model, cost.name), results.cell(model, "top1")
    whiskers: dict[str, Any] = {"color": style.colour, "linewidth": 1.0, "zorder": 2.5}
    if x.has_interval:
        axes.plot([max(x.low, axes.get_xlim()[0]), x.high], [y.value, y.value], **whiskers)
    if y.has_interval:
        axes.plot([x.value, x.value], [y.low, y.high], **whiskers)
    axes.scatter(
        [x.value], [y.value], s=marker_size(style.marker, MARKER_AREA), marker=MarkerStyle(style.marker),
        color=style.colour, edgecolors=PAPER,
        linewidths=0.7, zorder=3,
    )  # fmt: skip


def _label_points(
    figure: Figure,
    axes: Axes,
    models: Sequence[Model],
    spans: np.ndarray,
    reserved: Sequence[tuple[float, float, float, float]],
) -> list[str]:
    """Write the names, with a leader line where one is not beside its point; returns those without room."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]  # the Agg canvas has one
    texts = [
        axes.annotate(
            chart_name(model), (px, py), xytext=(0, 0), textcoords="offset points", size=7.5, zorder=5,
            va="bottom",
            bbox={"boxstyle": "square,pad=0.05", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.6},
        )
        for model, (_, px, _, _, py, _) in zip(models, spans, strict=True)
    ]  # fmt: skip
    extents = [text.get_window_extent(renderer) for text in texts]
    sizes = np.array([[extent.width, extent.height] for extent in extents])
    points, corner_a, corner_b = (
        np.asarray(axes.transData.transform(spans[:, columns]), dtype=float) for columns in ([1, 4], [0, 3], [2, 5])
    )
    whiskers = np.concatenate(
        [
            np.column_stack([corner_a[:, 0], points[:, 1] - 1, corner_b[:, 0], points[:, 1] + 1]),
            np.column_stack([points[:, 0] - 1, corner_a[:, 1], points[:, 0] + 1, corner_b[:, 1]]),
        ]
    )
    frame = axes.get_window_extent(renderer)
    corner = np.array([frame.x0, frame.y0] * 2)
    boxes = corner + np.array(reserved).reshape(-1, 4) * np.array([frame.width, frame.height] * 2)
    placement = place_labels(points, sizes, (frame.x0, frame.y0, frame.x1, frame.y1), boxes, whiskers)
    for text, point, corner, end in zip(texts, points, placement.corners, placement.leaders, strict=True):
        if np.isnan(corner).any():
            text.remove()
            continue
        text.set_position(tuple(corner - point))
        if np.linalg.norm(end - point) > 11:
            axes.annotate(
                "", text.xy, xytext=tuple(end - point), textcoords="offset points", zorder=2.7,
                arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4},
            )  # fmt: skip
    return [model.name for model, corner in zip(models, placement.corners, strict=True) if np.isnan(corner).any()]
