"""Accuracy and loss during training, and accuracies under several budgets: a line per network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.metrics import METRICS
from bench.quantity import axis_label, quantity, tick
from bench.render.charts.frame import Chart, add_axes, chart_name, finished, new_figure, without_room
from bench.render.charts.palette import INK, MUTED, FamilyStyle
from bench.render.charts.points import LineEnd, Point, exact, name_ends, name_points, set_log_axis
from bench.render.findings.budgets import BudgetTable
from bench.render.results.curves import Currency, Curve, own_currency
from bench.render.results.header import Model
from bench.render.results.table import AccuracyGroup, Results
from bench.render.tables.subtitles import chart_conditions

_AXES = (58.0, 46.0, 490.0, 366.0)  # leaves room for names at the right
_WIDE_AXES = (58.0, 46.0, 645.0, 366.0)
_MARKED = 40  # curves; the points of more would only fill the page
_POINTS = 80  # a curve is averaged into this many bins: what the eye can tell apart at this width

Column = Literal["train_loss", "test_top1"]

_CURRENCIES: dict[Currency, tuple[str, str]] = {  # label of the axis, unit
    "images": ("Images trained on", "images"),
    "seconds": ("Training time", "s"),
    "flops": ("Training FLOPs", "FLOPs"),
}


def training_curves(
    results: Results,
    group: AccuracyGroup,
    curves: Sequence[Curve],
    styles: Mapping[str, FamilyStyle],
    stem: str,
    *,
    everything: bool,
) -> list[Chart | None]:
    """Loss and accuracy against what the run's first budget is counted in.

    With `everything`, accuracy against the other currencies too.
    """
    first = [curve for curve in curves if not curve.budget]
    own = own_currency(group.budget)
    across = [own, *(other for other in _CURRENCIES if other != own and everything)]
    return [
        curve_chart(results, group, first, "train_loss", own, styles, stem),
        *(curve_chart(results, group, first, "test_top1", currency, styles, stem) for currency in across),
    ]


def curve_chart(
    results: Results,
    group: AccuracyGroup,
    curves: Sequence[Curve],
    column: Column,
    across: Currency,
    styles: Mapping[str, FamilyStyle],
    stem: str,
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
    own, loss = across == own_currency(group.budget), column == "train_loss"
    axis, unit = _CURRENCIES[across]
    figure = new_figure()
    axes = add_axes(figure, *(_AXES if own else _WIDE_AXES))
    for model, points in drawn:
        axes.plot(
            points[across], points[column], color=styles[model.family].colour, linewidth=1.1, alpha=0.9,
            marker="" if loss or len(drawn) > _MARKED else "o", markersize=2.5,
        )  # fmt: skip
    (_set_loss_axis if loss else _set_accuracy_axis)(axes, group)
    axes.set_xlabel(axis, loc="left")
    ends = {model: (float(points[across].iloc[-1]), float(points[column].iloc[-1])) for model, points in drawn}
    if own:
        axes.margins(x=0)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(7))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, unit)))
        unnamed = name_ends(axes, [_end(model, at, styles) for model, at in ends.items()])
    else:
        set_log_axis(axes, "x", np.concatenate([points[across] for _, points in drawn]), unit)
        unnamed = name_points(axes, [Point(model, exact(x), exact(y)) for model, (x, y) in ends.items()])
    best = (min if loss else max)(ends, key=lambda model: ends[model][1])
    said = (
        ["One line per seed, averaged into at most 80 points."] if loss else _mark_targets(axes, results, group, across)
    )
    title = f"{'Training loss' if loss else 'Test accuracy'} against {axis[0].lower()}{axis[1:]}"
    return finished(
        figure,
        name=f"{stem}-curves-{'loss' if loss else 'top1'}{'' if own else f'-by-{across}'}",
        kind="curves",
        track=group.track,
        title=title,
        conditions=chart_conditions(results, group),
        alt=(
            f"{title} on {group.dataset} for {len(ends)} networks, one line per seed; "
            f"{best.name} ends {'lowest' if loss else 'highest'} at "
            f"{tick(ends[best][1], METRICS['train_loss' if loss else 'top1'].unit)}."
        ),
        caption=" ".join([*said, without_room(unnamed)]),
    )


def _points(curve: Curve, across: Currency, column: Column) -> pd.DataFrame:
    steps = curve.steps.filter([across, column])
    steps = steps[np.isfinite(steps.to_numpy()).all(axis=1)]
    if len(steps) <= _POINTS:
        return steps
    return steps.groupby(np.arange(len(steps)) * _POINTS // len(steps)).mean()


def _set_loss_axis(axes: Axes, group: AccuracyGroup) -> None:
    axes.set_ylabel("Training loss (nats)", loc="top")
    axes.set_ylim(bottom=0)


def _set_accuracy_axis(axes: Axes, group: AccuracyGroup) -> None:
    axes.set_ylabel(axis_label(METRICS["top1"]), loc="top")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, "fraction")))
    if group.chance is not None:
        axes.axhline(group.chance, color=INK, linewidth=1, linestyle="--")
        axes.annotate(
            f"chance {tick(group.chance, 'fraction')}", (0, group.chance), xycoords=("axes fraction", "data"),
            xytext=(4, -10), textcoords="offset points", color=MUTED,
        )  # fmt: skip


def _mark_targets(axes: Axes, results: Results, group: AccuracyGroup, across: Currency) -> list[str]:
    """A ring where a network reached an accuracy that is timed; a sentence for each such accuracy names the first."""
    sentences = []
    for metric in METRICS.values():
        currency, percent = metric.milestone or ("", 0)
        if currency != across:
            continue
        cells = {model.name: results.cell(model, metric.name) for model in group.models}
        reached = {name: cell.value for name, cell in cells.items() if cell.measured}
        if not reached:
            continue
        axes.axhline(percent / 100, color=MUTED, linewidth=0.6, linestyle=(0, (1, 2)))
        axes.scatter(
            list(reached.values()), [percent / 100] * len(reached), s=18, facecolors="none", edgecolors=INK,
            linewidths=0.7, zorder=4,
        )  # fmt: skip
        first = min(reached, key=lambda name: reached[name])
        sentences.append(
            f"{percent} % is reached by {len(reached)} of {len(cells)} networks, first by {first} "
            f"({quantity(reached[first], metric.unit)}{' FLOPs' if across == 'flops' else ''}"
            f"{' images' if across == 'images' else ''})."
        )
    return sentences


def _end(model: Model, at: tuple[float, float], styles: Mapping[str, FamilyStyle]) -> LineEnd:
    return LineEnd(model.name, chart_name(model), at, styles[model.family].colour)


def budget_chart(results: Results, table: BudgetTable, styles: Mapping[str, FamilyStyle], stem: str) -> Chart | None:
    """Accuracy under each budget: lines that cross where ranks change. None for fewer than two networks with all."""
    rows = [row for row in table.rows if all(cell.cell.measured for cell in row.cells)]
    if len(rows) < 2:
        return None
    figure = new_figure()
    axes = add_axes(figure, *_AXES)
    places = range(len(table.budgets))
    for row in rows:
        axes.plot(
            places, [cell.cell.value for cell in row.cells], color=styles[row.model.family].colour, linewidth=1.2,
            marker="o", markersize=3,
        )  # fmt: skip
    axes.set_xlim(-0.08, len(table.budgets) - 1)
    axes.set_xticks(list(places), table.headings)
    for label in axes.get_xticklabels()[-1:]:
        label.set_horizontalalignment("right")
    axes.grid(visible=False, axis="y")
    axes.set_ylabel(axis_label(METRICS["top1"]), loc="top")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, "fraction")))
    unnamed = name_ends(axes, [_end(row.model, (places[-1], row.cells[-1].cell.value), styles) for row in rows])
    moved = [row.model.name for row in rows if any(cell.gained for cell in row.cells)]
    title = "Test accuracy under each budget"
    return finished(
        figure,
        name=f"{stem}-budgets",
        kind="budgets",
        track=table.track,
        title=title,
        conditions=f"{table.track} track · {table.dataset} · {results.header.device} · {results.header.date}",
        alt=f"{title} ({', '.join(table.headings)}) for {len(rows)} networks; {len(moved)} change their place.",
        caption=without_room(unnamed),
    )
