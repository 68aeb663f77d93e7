"""A metric of every network over the stored runs of a device, each against its own first run, changes marked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.metrics import METRICS
from bench.records.run_folder import Run
from bench.regression.history import Point, Series, default_metrics, device_of, history, runs_in
from bench.regression.verdict import MARGIN
from bench.render.charts.figure import Chart, add_axes, look, new_figure, printable, save_png, save_svg, write_title
from bench.render.charts.labels import spread
from bench.render.charts.palette import COLOURS, INK, MUTED, PAPER

_WIDTH, _HEIGHT = 720.0, 470.0
_AXES = (62.0, 78.0, 470.0, 334.0)  # leaves room for names at the right and commits below
_GAP = 11.0  # between names, in points
_TICKS = 12
LEAST_RUNS = 4  # fewer are no history


def history_charts(run: Run) -> list[Chart]:
    """What led up to a run: a chart per metric over the earlier runs beside it on the same device, and itself.

    Empty where there are too few to be a history.
    """
    runs, _ = runs_in(run.folder.parent)
    earlier = [one for one in runs if device_of(one) == device_of(run) and _created(one) <= _created(run)]
    if len(earlier) < LEAST_RUNS:
        return []
    own = {(record.model, record.metric) for record in run.records()}
    series = [one for one in history(earlier, default_metrics(), MARGIN) if (one.model, one.metric) in own]
    # What never changes needs no chart.
    drawn = [one for one in series if len(one.points) >= LEAST_RUNS and len({p.value for p in one.points}) > 1]
    metrics = dict.fromkeys(one.metric for one in drawn)
    return [history_chart([one for one in drawn if one.metric == metric], device_of(run)) for metric in metrics]


def _created(run: Run) -> str:
    return str(run.header.get("created", ""))


def history_chart(series: Sequence[Series], device: str) -> Chart:
    """One line per network and conditions, all of one metric; those that changed are coloured, the others grey."""
    metric = METRICS[series[0].metric]
    runs = _in_order(series)
    place = {point.run: index for index, point in enumerate(runs)}
    changed = [one for one in series if one.changes]
    title = f"{metric.label} over {len(runs)} runs"
    with look():
        figure = new_figure(_WIDTH, _HEIGHT)
        axes = add_axes(figure, *_AXES)
        write_title(
            figure, title, f"{device}. Each network against its own first run; marked: a new level from there on"
        )
        for one in [*(s for s in series if not s.changes), *changed]:
            _draw(axes, one, place, _colour(one, changed))
        _set_axes(axes, runs)
        unnamed = _name_at_the_right(axes, [*changed, *(s for s in series if not s.changes)], changed)
        svg, png = save_svg(figure), save_png(figure)
    names = ", ".join(dict.fromkeys(one.model for one in changed)) or "none"
    return Chart(
        name=f"history-{metric.name}",
        kind="history",
        track="",
        title=title,
        alt=f"{title} on {device} for {len(series)} series, as a share of the first run; changed: {names}.",
        caption=f"No room for the names of {', '.join(unnamed)}." if unnamed else "",
        svg=svg,
        png=png,
    )


def _in_order(series: Sequence[Series]) -> list[Point]:
    """One point for every run that any of the series has, in the order of time."""
    runs = {point.run: point for one in series for point in one.points}
    return sorted(runs.values(), key=lambda point: point.created)


def _colour(one: Series, changed: Sequence[Series]) -> str:
    return COLOURS[changed.index(one) % len(COLOURS)] if one in changed else MUTED


def _relative(one: Series) -> list[float]:
    return [point.value / one.points[0].value for point in one.points]


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
    step = math.ceil(len(runs) / _TICKS)
    shown = range(0, len(runs), step)
    axes.set_xlim(-0.5, len(runs) - 0.5)
    axes.set_xticks(list(shown))
    words = [f"{runs[n].created[:10]}\n{printable(runs[n].commit or runs[n].run, 12)}" for n in shown]
    axes.set_xticklabels(words, rotation=30, ha="right", fontsize=7)
    axes.axhline(1.0, color=INK, linewidth=0.7)


def _name_at_the_right(axes: Axes, series: Sequence[Series], changed: Sequence[Series]) -> list[str]:
    """Names beside the ends of lines, the changed ones first; returns those for which there is no room."""
    height = _AXES[3]
    named = list(series)[: int(height / _GAP)]
    low, high = axes.get_ylim()
    ends = np.array([math.log(_relative(one)[-1] / low) / math.log(high / low) * height for one in named])
    for one, at in zip(named, spread(ends, _GAP, 0.0, height), strict=True):
        axes.annotate(
            printable(one.model, 30), (1.0, float(at) / height), xycoords="axes fraction", xytext=(8, 0),
            textcoords="offset points", fontsize=7.5, va="center", color=_colour(one, changed), annotation_clip=False,
        )  # fmt: skip
    return list(dict.fromkeys(one.model for one in list(series)[len(named) :]))
