"""Accuracy against a cost: the ball chart (area of a ball = parameters) and its plain sisters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.metrics import METRICS, Metric
from bench.quantity import axis_label, in_sentence, tick
from bench.render.charts.comparable import comparable, without_room
from bench.render.charts.figure import Chart, add_axes, new_figure, save_png, save_svg, write_title
from bench.render.charts.legends import FRONT_DASHES, ball_areas, draw_ball_legend, draw_family_legend
from bench.render.charts.palette import INK, MUTED, FamilyStyle
from bench.render.charts.points import draw_points, name_points, set_log_axis, span
from bench.render.findings.efficiency import accuracy_front
from bench.render.results.header import Model
from bench.render.results.table import AccuracyGroup, Results
from bench.render.tables.subtitles import chart_conditions, label_of, step_conditions

_WIDTH, _HEIGHT = 720.0, 470.0  # of the figure, in points
_AXES = (58.0, 46.0, 508.0, 366.0)
_LEGEND_X = 580.0


@dataclass(frozen=True)
class Accuracy:
    """Whose accuracy a figure shows, in words."""

    metric: Metric  # top1, under the label that is meant
    conditions: str  # under the title
    published: bool = False  # not of this run: then drawn as in the lecture, MACs from zero and no line for guessing


def own_accuracy(results: Results, group: AccuracyGroup) -> Accuracy:
    """The test accuracy that the run itself has measured."""
    return Accuracy(METRICS["top1"], chart_conditions(results, group))


def scatter_chart(
    results: Results,
    group: AccuracyGroup,
    cost: Metric,
    styles: Mapping[str, FamilyStyle],
    stem: str,
    accuracy: Accuracy | None = None,
) -> Chart | None:
    """Accuracy of a group against one metric; None with fewer than two networks to compare.

    The accuracy is the test accuracy of this run, if none other is given.
    """
    accuracy = accuracy or own_accuracy(results, group)
    models, missing = comparable(results, group.models, cost.name)
    if len(models) < 2:
        return None
    balls = cost.name == "macs"
    figure, _, unlabelled = draw_scatter(results, group, cost, styles, models, balls=balls, accuracy=accuracy)
    title = f"{accuracy.metric.label} against {in_sentence(cost)}"
    front = [models[i].name for i in accuracy_front(results, models, cost)]
    return Chart(
        name=f"{stem}-top1-vs-{cost.name}",
        kind="scatter" if not balls else "textbook" if accuracy.published else "ball",
        track=group.track,
        title=title,
        alt=(
            f"{'Bubble' if balls else 'Scatter'} chart of {in_sentence(accuracy.metric)} on {group.dataset} against "
            f"{in_sentence(cost)} for {len(models)} networks. On the Pareto front: {', '.join(front)}."
        ),
        caption=f"{missing} {without_room(unlabelled)}".strip(),
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
    accuracy: Accuracy | None = None,
) -> tuple[Figure, Axes, list[str]]:
    """The figure, its main axes and the names of the networks whose labels found no place."""
    accuracy = accuracy or own_accuracy(results, group)
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = add_axes(figure, *_AXES)
    cost = replace(cost, label=label_of(results, models, cost))
    write_title(figure, f"{accuracy.metric.label} against {in_sentence(cost)}", accuracy.conditions)
    axes.set_xlabel(axis_label(cost, step_conditions(results, models, cost)), loc="left")
    axes.set_ylabel(axis_label(accuracy.metric), loc="top")

    x = np.array([results.cell(model, cost.name).value for model in models])
    y = np.array([results.cell(model, "top1").value for model in models])
    if accuracy.published:
        axes.set_xlim(0, 1.06 * float(x.max()))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, cost.unit)))
    else:
        set_log_axis(axes, "x", x, cost.unit)
    chance_text = _set_accuracy_axis(axes, results, None if accuracy.published else group.chance, models)

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
    spans = [(span(results.cell(model, cost.name)), span(results.cell(model, "top1"))) for model in models]
    draw_points(axes, models, spans, styles)
    unlabelled = name_points(figure, axes, models, spans, [chance_text] if chance_text else [])
    draw_family_legend(figure, models, styles, (_LEGEND_X, _HEIGHT - 58), front=len(front) > 1)
    return figure, axes, unlabelled


def _set_accuracy_axis(
    axes: Axes, results: Results, chance: float | None, models: Sequence[Model]
) -> tuple[float, float, float, float] | None:
    """Limits of the accuracy axis and the line of `chance`; returns the box of its text as fractions of the axes.

    That line is on the axis unless that would squeeze the networks into less than a quarter of it: then a
    sentence says where it lies.
    """
    cells = [results.cell(model, "top1") for model in models]
    low = min(cell.low if cell.has_interval else cell.value for cell in cells)
    high = max(cell.high if cell.has_interval else cell.value for cell in cells)
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
