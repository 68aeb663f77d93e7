"""Lines: training curves, gradients by depth, a metric over stored runs."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bench.metrics import METRICS
from bench.quantity import axis_label, tick
from bench.regression.history import RunPoint, Series
from bench.render.charts.accuracy import set_accuracy_axis
from bench.render.charts.frame import (
    COLOURS,
    INK,
    MUTED,
    PAPER,
    SMALL,
    WIDTH,
    Chart,
    FamilyStyle,
    LineEnd,
    add_axes,
    chart_name,
    finished,
    name_ends,
    new_figure,
    printable,
    set_log_axis,
    style,
    styles_of,
    ticks_in,
    without_room,
)
from bench.render.charts.points import Point, exact, name_points
from bench.render.results import AccuracyGroup, Results
from bench.render.results.kept import UNITS, Currency, Curve, GradientFlow, own_currency
from bench.render.results.networks import Model
from bench.render.tables import chart_conditions

_AXES = (58.0, 46.0, 490.0, 366.0)  # leaves room for names at the right
_WIDE_AXES = (58.0, 46.0, 645.0, 366.0)
_MARKED = 40  # curves; the points of more would only fill the page
_POINTS = 80  # a curve is averaged into this many bins: what the eye can tell apart at this width

CurveColumn = Literal["train_loss", "test_top1"]

_LABELS: dict[Currency, str] = {"images": "Images trained on", "seconds": "Training time", "flops": "Training FLOPs"}


def training_curves(
    results: Results, group: AccuracyGroup, curves: Sequence[Curve], stem: str, *, everything: bool
) -> list[Chart | None]:
    """Loss and accuracy against what the run's first budget is counted in.

    With `everything`, accuracy against the other currencies too.
    """
    first = [curve for curve in curves if not curve.budget]
    own = own_currency(group.budget)
    across = [own, *(other for other in _LABELS if other != own and everything)]
    return [
        curve_chart(results, group, first, "train_loss", own, stem),
        *(curve_chart(results, group, first, "test_top1", currency, stem) for currency in across),
    ]


def curve_chart(
    results: Results, group: AccuracyGroup, curves: Sequence[Curve], column: CurveColumn, across: Currency, stem: str
) -> Chart | None:
    """Loss or accuracy of a group's networks over what training spent; None where no curve has two points of it.

    Linear and named at the right against the currency of the budget; logarithmic against the others, in which the
    networks differ by orders of magnitude.
    """
    files = Counter(model.file_name for model in group.models)  # a network under two conditions has one curve
    models = {model.file_name: model for model in group.models if files[model.file_name] == 1}
    found = [(curve, _points(curve, across, column)) for curve in curves if curve.model in models]
    drawn = [(models[curve.model], points) for curve, points in found if len(points) > 1]
    if not drawn:
        return None
    styles = styles_of(results)
    own, loss = across == own_currency(group.budget), column == "train_loss"
    axis, unit = _LABELS[across], UNITS[across]
    figure = new_figure()
    axes = add_axes(figure, *(_AXES if own else _WIDE_AXES))
    for model, points in drawn:
        axes.plot(
            points[across], points[column], color=styles[model.family].colour, linewidth=1.1, alpha=0.9,
            marker="" if loss or len(drawn) > _MARKED else "o", markersize=2.5,
        )  # fmt: skip
    if loss:
        axes.set_ylabel("Training loss (nats)", loc="top")
        axes.set_ylim(bottom=0)
        reserved = []
    else:
        axes.set_ylabel(axis_label(METRICS["top1"]), loc="top")
        reserved = set_accuracy_axis(axes, [top1 for _, points in drawn for top1 in points[column]], group.chance)
    axes.set_xlabel(axis, loc="left")
    ends = {model: (float(points[across].iloc[-1]), float(points[column].iloc[-1])) for model, points in drawn}
    if own:
        axes.margins(x=0)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(7))
        ticks_in(axes.xaxis, unit)
        unnamed = name_ends(
            axes,
            [LineEnd(model.name, chart_name(model), at, styles[model.family].colour) for model, at in ends.items()],
        )
    else:
        set_log_axis(axes, "x", np.concatenate([points[across] for _, points in drawn]), unit)
        unnamed = name_points(axes, [Point(model, exact(x), exact(y)) for model, (x, y) in ends.items()], reserved)
    best = (min if loss else max)(ends, key=lambda model: ends[model][1])
    title = f"{'Training loss' if loss else 'Test accuracy'} against {axis[0].lower()}{axis[1:]}"
    return finished(
        figure,
        name=f"{stem}-curves-{'loss' if loss else 'top1'}{'' if own else f'-by-{across}'}",
        kind="curves",
        track=group.track,
        title=title,
        conditions=chart_conditions(results, group),
        alt=(
            f"{title} for {len(ends)} networks on {group.dataset}, one line per seed; "
            f"{chart_name(best)} ends {'lowest' if loss else 'highest'} at "
            f"{tick(ends[best][1], METRICS['train_loss' if loss else 'top1'].unit)}."
        ),
        caption=f"One line per seed, averaged into at most {_POINTS} points. {without_room(unnamed)}",
    )


def _points(curve: Curve, across: Currency, column: CurveColumn) -> pd.DataFrame:
    steps = curve.steps.filter([across, column])
    steps = steps[np.isfinite(steps.to_numpy()).all(axis=1)]
    if len(steps) <= _POINTS:
        return steps
    return steps.groupby(np.arange(len(steps)) * _POINTS // len(steps)).mean()


# Of gradients by depth.
_FLOW_HEIGHT = 416.0
_LEFT, _BOTTOM, _PANEL, _TALL, _ACROSS, _UP = 44.0, 74.0, 149.0, 124.0, 10.0, 32.0  # panels and gaps, in points
_APART = 28.0  # more space before the panels with batch norm, which have an axis of their own
_SMALLEST = 1e-45  # above zero in fp32
_COLUMNS = (("sigmoid", False), ("tanh", False), ("relu", False), ("relu", True))
_ROWS = ("he", "small_normal")
_WORDS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "ReLU", "he": "He's weights", "small_normal": "std 0.01"}
_FIRST: dict[str, Any] = {"linewidth": 1.7}  # a line before training, and one after it
_LAST: dict[str, Any] = {"linewidth": 1.1, "linestyle": (0, (2, 1.5))}


def gradient_flow_charts(results: Results, flows: Sequence[GradientFlow]) -> list[Chart]:
    """One chart for each depth: the plain network, the residual one, or both."""
    models = {model.name: model for model in results.models}
    by_depth: dict[str, list[tuple[Model, GradientFlow]]] = {}
    for flow in flows:
        if flow.model in models:
            depth = re.search(r"\d+", flow.model)
            by_depth.setdefault(depth[0] if depth else flow.model, []).append((models[flow.model], flow))
    return [_flow_chart(results, depth, found) for depth, found in sorted(by_depth.items(), key=lambda i: len(i[0]))]


def _flow_chart(results: Results, depth: str, found: Sequence[tuple[Model, GradientFlow]]) -> Chart:
    figure, styles = new_figure(height=_FLOW_HEIGHT), styles_of(results)
    names = " and ".join(chart_name(model) for model, _ in found)
    title = f"Gradient that reaches each layer of {names}"
    ratios = _ratios(results, [model for model, _ in found])
    limits = {
        norm: _flow_limits([flow.rows[flow.rows.batch_norm == norm] for _, flow in found]) for norm in (False, True)
    }
    for row, initialisation in enumerate(_ROWS):
        for column, (activation, batch_norm) in enumerate(_COLUMNS):
            axes = add_axes(
                figure,
                _LEFT + column * (_PANEL + _ACROSS) + (_APART if batch_norm else 0.0),
                _BOTTOM + (1 - row) * (_TALL + _UP),
                _PANEL,
                _TALL,
            )
            bottom, top = limits[batch_norm]
            _set_flow_axes(axes, bottom, top, labelled=column == 0 or batch_norm, last=row == len(_ROWS) - 1)
            norm = ", batch norm" if batch_norm else ""
            axes.set_title(f"{_WORDS[activation]}{norm}, {_WORDS[initialisation]}", size=SMALL, loc="left", pad=4)
            vanished = False
            for model, flow in found:
                for last in (False, True):
                    norms = flow.norms(activation, initialisation, batch_norm, last=last)
                    vanished |= bool((norms == 0).any())
                    look = {"color": styles[model.family].colour, **(_LAST if last else _FIRST)}
                    axes.plot(norms.index, norms.replace(0.0, 20 * bottom), **look)
            if vanished:
                axes.text(0.02, 0.02, "0 in fp32", transform=axes.transAxes, color=MUTED)
    _draw_flow_legend(figure, found, styles)
    return finished(
        figure,
        name=f"gradient-flow-{depth}",
        kind="gradient_flow",
        track=found[0][0].track,
        title=title,
        conditions=_flow_conditions(results, found),
        alt=f"{title}: norm by depth on a logarithmic axis, a panel for each of eight variants. {ratios}",
        caption=ratios,
    )


def _flow_conditions(results: Results, found: Sequence[tuple[Model, GradientFlow]]) -> str:
    rows = [row for model, _ in found for row in results.cell(model, "gradient_norm_ratio").records]
    batches = dict.fromkeys(f"batch {row.batch_size}" for row in rows if row.batch_size)
    notes = dict.fromkeys(row.note for row in rows if row.note)
    return " · ".join(
        ("norm of each convolution's weight gradient, by depth", *batches, "fp32", *notes, results.header.date)
    )


def _flow_limits(rows: Sequence[pd.DataFrame]) -> tuple[float, float]:
    """The limits of the axis that panels share; norms that fp32 cannot hold lie on its lower edge."""
    norms = np.concatenate([part.gradient_norm.to_numpy(dtype=float) for part in rows])
    positive = norms[np.isfinite(norms) & (norms > 0)]
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1e-3, 1.0)
    return (_SMALLEST if (norms == 0).any() else low / 3), high * 3


def _set_flow_axes(axes: Axes, bottom: float, top: float, *, labelled: bool, last: bool) -> None:
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    decades = max(1, round(np.log10(top / bottom) / 5))
    axes.yaxis.set_major_locator(LogLocator(base=10.0**decades, numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    powers = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: "10" + str(round(np.log10(value))).translate(powers)))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(labelleft=labelled, labelbottom=last)


def _draw_flow_legend(
    figure: Figure, found: Sequence[tuple[Model, GradientFlow]], styles: Mapping[str, FamilyStyle]
) -> None:
    steps = max(int(flow.rows.step.max()) for _, flow in found)
    of_models = ((chart_name(model), styles[model.family].colour, _FIRST) for model, _ in found)
    looks = (*of_models, ("at initialisation", MUTED, _FIRST), (f"after {steps} steps of SGD", MUTED, _LAST))
    handles = [Line2D([], [], label=words, color=colour, **look) for words, colour, look in looks]
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(_LEFT / WIDTH, 0.02), ncols=4)
    figure.text(_LEFT / WIDTH, 46 / _FLOW_HEIGHT, "Convolution, counted from the input")


def _ratios(results: Results, models: Iterable[Model]) -> str:
    """A sentence on the first norm over the last at initialisation, where it says most."""
    sentences = []
    for words, kind in (("sigmoid", "_sigmoid"), ("ReLU", ""), ("ReLU and batch norm", "_batch_norm")):
        cells = {chart_name(model): results.cell(model, f"gradient_norm_ratio{kind}") for model in models}
        if ratios := [f"{cell.value:.2g} in {name}" for name, cell in cells.items() if cell.measured]:
            sentences.append(f"with {words} {' and '.join(ratios)}")
    return (
        f"First layer's norm over the last's at initialisation with He's weights: {'; '.join(sentences)}. "
        "The panels with batch norm have an axis of their own."
        if sentences
        else ""
    )


# --- Several runs ---

_HISTORY_AXES = (62.0, 78.0, 470.0, 334.0)  # leaves room for names at the right and commits below
_MOST_RUNS_NAMED = 12


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
    axes = add_axes(figure, *_HISTORY_AXES)
    for one, colour in (*steady, *coloured):
        _draw_series(axes, one, place, colour)
    _set_history_axes(axes, runs)
    unnamed = name_ends(
        axes,
        [
            LineEnd(one.model, printable(one.model, 36), (place[one.points[-1].run], _relative(one)[-1]), colour)
            for one, colour in (*coloured, *steady)
        ],
    )
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


def _draw_series(axes: Axes, one: Series, place: dict[str, int], colour: str) -> None:
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


def _change(ratio: float) -> str:
    """Such as "+20", "−80" and "0"."""
    return f"{100 * (ratio - 1):+.3g}".replace("-", "−") if ratio != 1 else "0"


def _version(run: RunPoint) -> str:
    """Its commit, with a plus where something was not committed; else its name."""
    dirty = "+" if run.commit.endswith("+") else ""
    return f"{run.commit.rstrip('+')[:8]}{dirty}" if run.commit else printable(run.run, 12)


def _set_history_axes(axes: Axes, runs: Sequence[RunPoint]) -> None:
    axes.set_yscale("log")
    axes.minorticks_off()
    low, high = axes.get_ylim()
    even = MaxNLocator(7, steps=[1, 2, 2.5, 5, 10])
    ticks = (LogLocator(subs=(1.0, 2.0, 5.0)) if high > 5 * low else even).tick_values(low, high)
    axes.set_yticks([tick for tick in ticks if low <= tick <= high and tick > 0])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{_change(value)} %"))
    step = math.ceil(len(runs) / _MOST_RUNS_NAMED)
    shown = range(0, len(runs), step)
    axes.set_xlim(-0.5, len(runs) - 0.5)
    axes.set_xticks(list(shown))
    words = [f"{runs[n].created[:10]}\n{_version(runs[n])}" for n in shown]
    axes.set_xticklabels(words, rotation=30, ha="right")
    axes.axhline(1.0, color=INK, linewidth=0.7)
