"""Several runs in one figure: two side by side, and a metric over the stored runs of a device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.metrics import METRICS, Metric
from bench.quantity import axis_label, in_sentence
from bench.records.run_folder import Run
from bench.regression import MARGIN, Verdict, percent
from bench.regression.compare import Change
from bench.regression.history import DEFAULT_METRICS, Point, Series, device_of, history, runs_in
from bench.render.charts.frame import (
    COLOURS,
    INK,
    MUTED,
    PAPER,
    Chart,
    add_axes,
    finished,
    new_figure,
    printable,
    style,
    without_room,
)
from bench.render.charts.points import LineEnd, name_ends, set_log_axis
from bench.render.charts.rows import row_figure, scale_from_zero
from bench.render.results.header import Model

# verdict -> marker and colour: what is good points up, what is bad down, also on a grey print
_GOOD, _BAD, _PLAIN = ("^", COLOURS[4]), ("v", COLOURS[1]), ("o", MUTED)
_MARKS: Mapping[Verdict, tuple[str, str]] = {"faster": _GOOD, "better": _GOOD, "slower": _BAD, "worse": _BAD}
_MOST_TICKS = 7
_WIDE, _MIDDLE = 4.0, 1.6  # ranges of ratios, from which on ticks are 1, 2, 5, 10, and these:
_MIDDLE_TICKS = (0.25, 0.33, 0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)

_AXES = (62.0, 78.0, 470.0, 334.0)  # leaves room for names at the right and commits below
_MOST_RUNS_NAMED = 12
LEAST_RUNS = 4  # fewer are no history


@style()
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
        Line2D([], [], linestyle="", marker="o", color=COLOURS[6], label=new),
    ]
    rows = [models[change.model] for change in drawn]
    figure, (values, ratios) = row_figure(rows, ("Both", "New / base"), legend)
    _draw_values(values, metric, drawn)
    _draw_ratios(ratios, drawn)
    best, worst = drawn[0], drawn[-1]
    return finished(
        figure,
        name=f"{stem}-{metric.name}",
        kind="pairs",
        track=rows[0].track,
        title=f"{metric.label} on the {rows[0].track} track: {base} and {new}",
        conditions="▲ significantly better, ▼ significantly worse; ● the same or unclear",
        alt=(
            f"{metric.label} of {len(drawn)} networks in {names[0]} and {names[1]}: from {best.model} "
            f"({percent(math.log(best.ratio))}) to {worst.model} ({percent(math.log(worst.ratio))}) of "
            f"{in_sentence(metric)}, new against base."
        ),
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
        axes.plot(change.new, row, "o", markersize=5, color=COLOURS[6], zorder=4)
    axes.set_xlabel(axis_label(metric), loc="left")


def _draw_ratios(axes: Axes, drawn: Sequence[Change]) -> None:
    """On an axis of logarithms, so that twice and half are equally far from one."""
    ends: list[float] = [0.0]
    for row, change in enumerate(drawn):
        middle, (low, high) = math.log(change.ratio), change.log_ratio
        marker, colour = _MARKS.get(change.verdict, _PLAIN)
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


def history_charts(run: Run) -> list[Chart]:
    """A chart per metric over a run and the earlier runs of the same folder on the same device.

    Empty where there are too few to be a history.
    """
    runs, _ = runs_in(run.folder.parent)
    earlier = [one for one in runs if device_of(one) == device_of(run) and one.header.created <= run.header.created]
    if len(earlier) < LEAST_RUNS:
        return []
    own = {(record.model, record.metric) for record in run.records()}
    series = [one for one in history(earlier, DEFAULT_METRICS, MARGIN) if (one.model, one.metric) in own]
    # What never changes needs no chart.
    drawn = [one for one in series if len(one.points) >= LEAST_RUNS and len({p.value for p in one.points}) > 1]
    metrics = dict.fromkeys(one.metric for one in drawn)
    return [history_chart([one for one in drawn if one.metric == metric], device_of(run)) for metric in metrics]


@style()
def history_chart(series: Sequence[Series], device: str) -> Chart:
    """One line per network and conditions, all of one metric; those that changed are coloured, the others grey."""
    metric = METRICS[series[0].metric]
    by_run = {point.run: point for one in series for point in one.points}
    runs = sorted(by_run.values(), key=lambda point: point.created)
    place = {point.run: index for index, point in enumerate(runs)}
    changed = [one for one in series if one.changes]
    coloured = [(one, COLOURS[number % len(COLOURS)]) for number, one in enumerate(changed)]
    steady = [(one, MUTED) for one in series if not one.changes]
    title = f"{metric.label} over {len(runs)} runs"
    figure = new_figure()
    axes = add_axes(figure, *_AXES)
    for one, colour in (*steady, *coloured):
        _draw(axes, one, place, colour)
    _set_axes(axes, runs)
    unnamed = name_ends(axes, [_end(one, place, colour) for one, colour in (*coloured, *steady)])
    names = ", ".join(dict.fromkeys(one.model for one in changed)) or "none"
    return finished(
        figure,
        name=f"history-{metric.name}",
        kind="history",
        track="",
        title=title,
        conditions=f"{device}. Each network against its own first run; circled: a lasting change",
        alt=f"{title} on {device} for {len(series)} series, as a share of the first run; changed: {names}.",
        caption=without_room(unnamed),
    )


def _relative(one: Series) -> list[float]:
    return [point.value / one.points[0].value for point in one.points]


def _end(one: Series, place: dict[str, int], colour: str) -> LineEnd:
    return LineEnd(one.model, printable(one.model, 30), (place[one.points[-1].run], _relative(one)[-1]), colour)


def _draw(axes: Axes, one: Series, place: dict[str, int], colour: str) -> None:
    across = [place[point.run] for point in one.points]
    values = _relative(one)
    strong = bool(one.changes)
    axes.plot(
        across, values, color=colour, linewidth=1.5 if strong else 0.7, alpha=1.0 if strong else 0.6,
        marker="o", markersize=2.5,
    )  # fmt: skip
    marked = [change.index for change in one.changes]
    axes.scatter(
        [across[n] for n in marked], [values[n] for n in marked], s=60, facecolor=PAPER, edgecolor=colour,
        linewidth=1.5, zorder=3,
    )  # fmt: skip


def _set_axes(axes: Axes, runs: Sequence[Point]) -> None:
    axes.set_yscale("log")
    axes.minorticks_off()
    low, high = axes.get_ylim()
    ticks = MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    axes.set_yticks([tick for tick in ticks if low <= tick <= high and tick > 0])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * (value - 1):+.3g} %".replace("-", "−")))
    step = math.ceil(len(runs) / _MOST_RUNS_NAMED)
    shown = range(0, len(runs), step)
    axes.set_xlim(-0.5, len(runs) - 0.5)
    axes.set_xticks(list(shown))
    words = [f"{runs[n].created[:10]}\n{printable(runs[n].commit or runs[n].run, 12)}" for n in shown]
    axes.set_xticklabels(words, rotation=30, ha="right")
    axes.axhline(1.0, color=INK, linewidth=0.7)
