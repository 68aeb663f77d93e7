"""One metric of the networks that two runs share: both values, and the ratio with its interval and verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.metrics import Metric
from bench.quantity import axis_label, in_sentence
from bench.regression.compare import Change
from bench.regression.verdict import Verdict, percent
from bench.render.charts.figure import Chart, look, printable, save_png, save_svg
from bench.render.charts.palette import COLOURS, INK, MUTED, PAPER
from bench.render.charts.points import set_log_axis
from bench.render.charts.rows import row_figure, scale_from_zero
from bench.render.results.header import Model

# verdict -> marker and colour: what is good points up, what is bad down, also on a grey print
_GOOD, _BAD, _PLAIN = ("^", COLOURS[4]), ("v", COLOURS[1]), ("o", MUTED)
_LOOKS: Mapping[Verdict, tuple[str, str]] = {"faster": _GOOD, "better": _GOOD, "slower": _BAD, "worse": _BAD}
_MOST_TICKS = 7
_WIDE, _MIDDLE = 4.0, 1.6  # ranges of ratios, from which on ticks are 1, 2, 5, 10, and these:
_MIDDLE_TICKS = (0.25, 0.33, 0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)


def pair_chart(
    metric: Metric, changes: Sequence[Change], models: Mapping[str, Model], names: tuple[str, str], stem: str
) -> Chart | None:
    """A row for each network, in the order of the ratios; None where nothing positive differs."""
    drawn = [change for change in changes if change.base > 0 and change.new > 0]
    if len({change.ratio for change in drawn} | {1.0}) < 2:
        return None
    good_first = -1 if metric.better == "higher" else 1
    drawn.sort(key=lambda change: (good_first * change.ratio, change.model))
    base, new = (printable(name, 36) for name in names)
    legend = [
        Line2D([], [], linestyle="", marker="o", markerfacecolor=PAPER, markeredgecolor=INK, label=base),
        Line2D([], [], linestyle="", marker="o", color=COLOURS[0], label=new),
    ]
    rows = [models[change.model] for change in drawn]
    with look():
        title = f"{metric.label} on the {rows[0].track} track: {base} and {new}"
        figure, (values, ratios) = row_figure(
            rows,
            title,
            "▲ significantly better, ▼ significantly worse; ● the same or unclear",
            ("Both", "New / base"),
            legend,
        )
        _draw_values(values, metric, drawn)
        _draw_ratios(ratios, drawn)
        best, worst = drawn[0], drawn[-1]
        return Chart(
            name=f"{stem}-{metric.name}",
            kind="pairs",
            track=rows[0].track,
            title=title,
            alt=(
                f"{metric.label} of {len(drawn)} networks in {names[0]} and {names[1]}: from {best.model} "
                f"({percent(math.log(best.ratio))}) to {worst.model} ({percent(math.log(worst.ratio))}) of "
                f"{in_sentence(metric)}, new against base."
            ),
            caption="",
            svg=save_svg(figure),
            png=save_png(figure),
        )


def _draw_values(axes: Axes, metric: Metric, drawn: Sequence[Change]) -> None:
    numbers = np.array([value for change in drawn for value in (change.base, change.new)])
    if metric.unit == "fraction":
        scale_from_zero(axes, float(numbers.max()), metric.unit)
    else:
        set_log_axis(axes, "x", numbers, metric.unit)
    for row, change in enumerate(drawn):
        axes.plot([change.base, change.new], [row, row], color=MUTED, linewidth=0.9, zorder=2)
        axes.plot(change.base, row, "o", markersize=5, markerfacecolor=PAPER, markeredgecolor=INK, zorder=3)
        axes.plot(change.new, row, "o", markersize=5, color=COLOURS[0], zorder=4)
    axes.set_xlabel(axis_label(metric), loc="left")


def _draw_ratios(axes: Axes, drawn: Sequence[Change]) -> None:
    """On an axis of logarithms, so that twice and half are equally far from one."""
    ends: list[float] = [0.0]
    for row, change in enumerate(drawn):
        middle, (low, high) = math.log(change.ratio), change.log_ratio
        marker, colour = _LOOKS.get(change.verdict, _PLAIN)
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [row, row], color=INK, linewidth=0.9, zorder=2)
            ends += [low, high]
        axes.plot(middle, row, marker=marker, color=colour, markersize=5, zorder=3)
        ends.append(middle)
    margin = max(0.08 * (max(ends) - min(ends)), 0.005)
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    axes.axvline(0, color=INK, linewidth=1, linestyle="--", zorder=1)
    ticks = _ticks(math.exp(min(ends) - margin), math.exp(max(ends) + margin))
    axes.set_xticks([math.log(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])


def _ticks(low: float, high: float) -> list[float]:
    """Round ratios between two, one among them."""
    if high / low > _WIDE:
        round_ones = [digit * 10.0**power for power in range(-9, 10) for digit in (1, 2, 5)]
    elif high / low > _MIDDLE:
        round_ones = list(_MIDDLE_TICKS)
    else:
        steps = [digit * 10.0**power for power in range(-6, 0) for digit in (1, 2, 5)]
        step = next(step for step in steps if (high - low) / step < _MOST_TICKS)
        round_ones = [round(1 + place * step, 9) for place in range(-_MOST_TICKS, _MOST_TICKS + 1)]
    inside = [ratio for ratio in round_ones if low <= ratio <= high]
    every = math.ceil(len(inside) / _MOST_TICKS)
    return inside[inside.index(1.0) % every :: every]
