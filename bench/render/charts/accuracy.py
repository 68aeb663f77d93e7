"""Accuracy: against a cost and the year of the paper, of this run and as published; its images and its mistakes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from PIL import Image

from bench.metrics import DERIVED, METRICS, Metric
from bench.quantity import axis_label, in_sentence, listing, quantity, tick
from bench.render.charts.costs import bar_chart
from bench.render.charts.frame import (
    INK,
    MOST_NAMED,
    MUTED,
    SMALL,
    WIDTH,
    Chart,
    add_axes,
    chart_name,
    comparable,
    finished,
    new_figure,
    printable,
    set_log_axis,
    slug,
    style,
    styles_of,
    ticks_in,
)
from bench.render.charts.points import (
    FRONT_DASHES,
    HALF,
    PAGE,
    PHONE,
    Box,
    Panel,
    Point,
    exact,
    point_chart,
    point_figure,
)
from bench.render.findings.ranking import accuracy_front
from bench.render.results import AccuracyGroup, Cell, Results
from bench.render.results.kept import Confusions, DataSet
from bench.render.results.networks import IMAGENET, Model, written_name
from bench.render.results.views import as_published, short_training, sources, whose
from bench.render.tables import (
    budget_words,
    chart_conditions,
    dataset_words,
    label_of,
    step_conditions,
    track_conditions,
)

_DENSITY = Metric("density", DERIVED, "percentage points per million parameters", "", "higher", "")
PUBLISHED = replace(METRICS["top1"], label="Published top-1 accuracy")
FEW = 3  # networks; fewer are no comparison, and read faster in the table
_ALL_SHOWN = 5  # networks, up to which a chart shows every one, however far out


@dataclass(frozen=True)
class Accuracies:
    """Accuracies that share an axis, and what figures say of them."""

    results: Results
    group: AccuracyGroup
    stem: str  # of the figures' files
    metric: Metric  # top1, under the label that is meant
    conditions: str  # under the title
    published: bool = False  # not of this run: then drawn as in the lecture, MACs from zero and no line for guessing


def accuracies(results: Results, group: AccuracyGroup, stem: str) -> Accuracies:
    """After how much training they are, and what is the shipped reference's among them, is said."""
    words = chart_conditions(results, group)
    if group.elsewhere:
        words = f"{group.track} track · {dataset_words(group)} · budget {group.budget} · {whose(group, group.models)}"
    metric = replace(METRICS["top1"], label=f"{METRICS['top1'].label} after {budget_words(group.budget)}")
    return Accuracies(results, group, stem, metric, words)


def scatter_chart(accuracy: Accuracies, cost: Metric, *, headline: str = "", beyond: str = "") -> Chart | None:
    """Accuracy of a group against one metric, with the Pareto front; None with fewer than two networks to compare.

    Against MACs, networks are balls whose area is their parameters. With a `headline` for its title, it is a small
    chart for the first screen. `beyond` says which are left out.
    """
    results, group = accuracy.results, accuracy.group
    models, missing = comparable(results, group.models, cost.name)
    if len(models) < 2:
        return None
    balls = cost.name == "macs"
    label = replace(cost, label=label_of(results, models, cost))
    front = accuracy_front(results, models, cost)
    points = [
        Point(m, results.cell(m, cost.name).span, results.cell(m, "top1").span, m.name in group.elsewhere, i in front)
        for i, m in enumerate(models)
    ]

    def prepare(axes: Axes) -> Sequence[Box]:
        x, y = np.array([point.x[1] for point in points]), np.array([point.y[1] for point in points])
        if accuracy.published and balls:
            axes.set_xlim(0, 1.06 * float(x.max()))
            ticks_in(axes.xaxis, cost.unit)
        else:
            set_log_axis(axes, "x", x, cost.unit)
        chance = None if accuracy.published else group.chance
        reserved = set_accuracy_axis(axes, [end for point in points for end in point.y], chance)
        # A staircase: between two networks of the front, the cheaper one is what can be had.
        steps = "steps-post" if cost.better == "lower" else "steps-pre"
        axes.plot(x[front], y[front], drawstyle=steps, color=MUTED, linewidth=1.2, linestyle=FRONT_DASHES, zorder=1.5)
        return reserved

    best = ", ".join(written_name(models[i]) for i in front)
    x_label = axis_label(label, step_conditions(results, models, cost))
    params = {model: results.cell(model, "params").value for model in models}
    alt = (
        f"{'Bubble' if balls else 'Scatter'} chart of {in_sentence(accuracy.metric)} on {group.dataset} against "
        f"{in_sentence(cost)} for {len(models)} networks. On the Pareto front: {best}."
    )
    charts = []
    for layout in (HALF, PHONE) if headline else (PAGE,):
        figure, unnamed = point_figure(
            Panel(points, x_label, axis_label(accuracy.metric), prepare),
            styles_of(results),
            front=len(front) > 1,
            balls=(METRICS["params"], params) if balls else None,
            layout=layout,
        )
        chart = finished(
            figure,
            name=f"{accuracy.stem}-headline" if headline else f"{accuracy.stem}-top1-vs-{cost.name}",
            kind="headline" if headline else "scatter" if not balls else "textbook" if accuracy.published else "ball",
            track=group.track,
            title=headline or f"{accuracy.metric.label} against {in_sentence(label)}",
            conditions=accuracy.conditions,
            alt=alt,
            caption=f"{missing} {unnamed} {beyond}",
        )
        charts.append(chart)
    return replace(charts[0], narrow=charts[1]) if headline else charts[0]


def headline_charts(results: Results) -> Iterator[Chart | None]:
    """The two charts of the first screen: after full training, as published; and after this run's budget.

    Where a short training is not what the run has, or most networks are no better than chance after it, the second is
    left out.
    """
    published = _published(results)
    if published is not None:
        near, beyond = _within_an_axis(published)
        near = replace(near, conditions=f"{near.group.dataset} · {sources(published.group.models)} · MACs counted here")
        yield scatter_chart(near, METRICS["macs"], headline="After full training (published)", beyond=beyond)
    if view := short_training(results):
        short = accuracies(*view, f"{slug(view[1].track)}-trained")
        yield scatter_chart(short, METRICS["macs"], headline=f"After {budget_words(short.group.budget)}")


def _published(results: Results) -> Accuracies | None:
    """As others published them; None where the run has fewer than three such, or accuracies of its own."""
    found = as_published(results)
    if found is None or len(found[1].models) < FEW:
        return None
    published, group = found
    words = f"{track_conditions(group.models)} · accuracies: {sources(group.models)} · all else counted here"
    return Accuracies(published, group, f"{IMAGENET}-published", PUBLISHED, words, published=True)


def set_accuracy_axis(axes: Axes, values: Iterable[float], chance: float | None) -> list[Box]:
    """Limits of the accuracy axis and the line of `chance`; returns the box of its text as fractions of the axes.

    That line is on the axis unless that would squeeze the networks into less than a quarter of it: then a
    sentence says where it lies.
    """
    low, *_, high = sorted(values)
    ticks_in(axes.yaxis, "fraction")
    shown = chance is not None and (high - low) >= (high - chance) / 4
    if shown and chance is not None:
        low, high = min(low, chance), max(high, chance)
    margin = 0.08 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    if chance is None:
        return []
    words = f"chance {tick(chance, 'fraction')}"
    if not shown:
        axes.text(0.995, 0.012, f"{words} is below this axis", transform=axes.transAxes, ha="right", color=MUTED)
        return [(0.66, 0.0, 1.0, 0.05)]
    axes.axhline(chance, color=INK, linewidth=1, linestyle="--", zorder=1.2)
    place = (chance - low + margin) / (high - low + 2 * margin)
    axes.text(0.995, place - 0.012, words, transform=axes.transAxes, ha="right", va="top", color=MUTED)
    return [(0.84, place - 0.05, 1.0, place + 0.004)]


def year_chart(accuracy: Accuracies) -> Chart | None:
    """A point per network and the line of the best so far; None where all papers are of one year."""
    results, group = accuracy.results, accuracy.group
    shown = [model for model in group.models if model.year is not None]
    years = sorted({model.year for model in shown if model.year is not None})
    if len(years) < 2:
        return None
    places = _places(shown, years)
    points = [Point(m, exact(places[m]), results.cell(m, "top1").span, m.name in group.elsewhere) for m in shown]
    best = _best_so_far(results, shown)

    def prepare(axes: Axes) -> Sequence[Box]:
        set_accuracy_axis(axes, [end for point in points for end in point.y], None)
        axes.set_xlim(-0.5, len(years) - 0.5)
        axes.set_xticks(range(len(years)), [str(year) for year in years])
        axes.grid(visible=False, axis="x")
        x = [*(years.index(year) - 0.5 for year, _ in best), len(years) - 0.5]
        y = [*(top for _, top in best), best[-1][1]]
        axes.plot(x, y, drawstyle="steps-post", color=MUTED, linewidth=1.1, linestyle="--", zorder=1.4)
        return []

    first, last = best[0], best[-1]
    said = f"The best of the {first[0]} networks has {quantity(first[1], 'fraction')}; "
    said += (
        f"the best of all, of {last[0]}, {quantity(last[1], 'fraction')}."
        if last != first
        else "no later one has more."
    )
    panel = Panel(points, "Year of the paper, a column each", axis_label(accuracy.metric), prepare)
    return point_chart(
        results,
        panel,
        name=f"{accuracy.stem}-years",
        kind="years",
        track=group.track,
        title=f"{accuracy.metric.label} by year of the paper",
        conditions=accuracy.conditions,
        alt=f"Scatter chart of {in_sentence(accuracy.metric)} by year for {len(shown)} networks. {said}",
        caption=f"{said} Dashed: the best so far.",
    )


def _places(models: Sequence[Model], years: Sequence[int]) -> dict[Model, float]:
    places: dict[Model, float] = {}
    for column, year in enumerate(years):
        same = [model for model in models if model.year == year]
        places |= {model: column + (number + 0.5) / len(same) * 0.7 - 0.35 for number, model in enumerate(same)}
    return places


def _best_so_far(results: Results, models: Sequence[Model]) -> list[tuple[int, float]]:
    best: dict[float, int] = {}  # accuracy -> the first year that has it
    for year, top in sorted((model.year or 0, -results.cell(model, "top1").value) for model in models):
        best.setdefault(max([-top, *best]), year)
    return [(year, top) for top, year in best.items()]


def density_chart(accuracy: Accuracies) -> Chart | None:
    """Accuracy per parameter (Canziani et al. 2016: information density), of the networks better than chance.

    None with fewer than two. A network without use has a high density too, if it only is small: chance divided by next
    to nothing.
    """
    results, models = accuracy.results, accuracy.group.models
    guessing = [model for model in models if results.at_chance(model)]
    shown = [model for model in models if results.cell(model, "params").value > 0 and model not in guessing]
    metric = replace(_DENSITY, label=f"{accuracy.metric.label} per parameter")
    cells = {(model.name, metric.name): _density(results, model) for model in shown}
    dense = replace(results, cells={**results.cells, **cells})
    chart = bar_chart(dense, shown, metric, accuracy.stem, conditions=accuracy.conditions)
    omitted = f"Omitted because they did no better than chance: {listing([*map(chart_name, guessing)], MOST_NAMED)}."
    return chart and replace(chart, kind="density", caption=omitted if guessing else "")


def _density(results: Results, model: Model) -> Cell:
    cell = results.cell(model, "top1")
    per = 1e8 / results.cell(model, "params").value
    return replace(cell, value=cell.value * per, low=cell.low * per, high=cell.high * per)


def textbook_charts(results: Results) -> list[Chart | None]:
    """The figures of Canziani et al. 2016 for networks that nobody trains here, with published accuracies.

    The ball chart, accuracy by network, by parameter and by year. Nothing where `_published` finds nothing.
    """
    published = _published(results)
    if published is None:
        return []
    models = published.group.models
    unknown = [written_name(model) for model in results.tracks()[IMAGENET] if model not in models]
    caption = f"No published accuracy of the same source for {listing(unknown, MOST_NAMED)}." if unknown else ""
    near, beyond = _within_an_axis(published)
    charts = (
        scatter_chart(near, METRICS["macs"], beyond=beyond),
        bar_chart(published.results, models, PUBLISHED, published.stem, conditions=published.conditions),
        density_chart(published),
        year_chart(published),
    )
    return [chart and replace(chart, caption=f"{chart.caption} {caption}".strip()) for chart in charts]


def _within_an_axis(published: Accuracies) -> tuple[Accuracies, str]:
    """Without a network of more than twice the MACs of any other, which would push all into a corner; and its name.

    Of a few networks none is left out.
    """
    results, group = published.results, published.group
    if len(group.models) <= _ALL_SHOWN:
        return published, ""
    ordered = sorted(group.models, key=lambda model: results.cell(model, "macs").value)
    first, last = (results.cell(model, "macs").value for model in ordered[-2:])
    if not last > 2 * first:
        return published, ""
    top1 = quantity(results.cell(ordered[-1], "top1").value, "fraction")
    near = tuple(model for model in group.models if model != ordered[-1])
    said = f"Beyond the right edge: {written_name(ordered[-1])} with {quantity(last, 'count')} MACs and {top1}."
    return replace(published, group=replace(group, models=near)), said


# --- Images and mistakes ---

IMAGE_KINDS = ("samples", "confusion")
_COLUMNS = 5  # of the grid
_TILE, _GAP, _NAME = 124.0, 14.0, 18.0  # points
_GRID_LEFT, _GRID_TOP, _GRID_BOTTOM = 16.0, 50.0, 8.0
_LEFT, _TOP, _BOTTOM = 110.0, 62.0, 84.0
_CELL = 34.0
_MOST_NUMBERS, _MOST_CLASSES = 16, 60
_PAIRS = 3  # that the caption names
# Unlike the figure's own ink these stay as they are in dark mode, as the cells behind them do.
_ON_DARK, _ON_LIGHT = "#ffffff", "#101010"


@style()
def sheet_chart(data_set: DataSet, stem: str) -> Chart | None:
    """A grid of images; None where the run kept none, or they are damaged."""
    tiles = _tiles(data_set)
    if not tiles:
        return None
    rows = math.ceil(len(tiles) / _COLUMNS)
    height = _GRID_TOP + rows * (_TILE + _NAME + _GAP) + _GRID_BOTTOM
    width = 2 * _GRID_LEFT + _COLUMNS * _TILE + (_COLUMNS - 1) * _GAP
    figure = new_figure(width, height)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, _COLUMNS)
        bottom = height - _GRID_TOP - _NAME - (row + 1) * _TILE - row * (_NAME + _GAP)
        axes = add_axes(figure, _GRID_LEFT + column * (_TILE + _GAP), bottom, _TILE, _TILE)
        axes.set_axis_off()
        axes.imshow(tile, cmap="gray", vmin=0, vmax=255, interpolation="none")
        axes.set_title(printable(data_set.classes[place], 18), size=SMALL, pad=4)
    shown = data_set.classes[: len(tiles)]
    others = len(data_set.classes) - len(shown)
    return finished(
        figure,
        name=f"{stem}-samples",
        kind="samples",
        track=data_set.track,
        title=f"What {data_set.name} looks like",
        conditions=f"the first training image of each class, {'×'.join(map(str, tiles[0].shape[:2]))} pixels",
        alt=f"Training images of {data_set.name}, one of each of {len(shown)} classes: {', '.join(shown)}.",
        caption=f"{others} more classes are not shown." if others else "",
    )


def _tiles(data_set: DataSet) -> list[np.ndarray]:
    """The images of a sheet, as many as fit it and have a class: (H, W) or (H, W, 3), uint8."""
    if not data_set.sheet:
        return []
    try:
        with Image.open(io.BytesIO(data_set.sheet)) as sheet:
            pixels = np.asarray(sheet)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # Pillow's word for a broken PNG
        return []
    side = pixels.shape[0]  # images are square
    count = min(pixels.shape[1] // side, len(data_set.classes))
    return [pixels[:, place * side : (place + 1) * side] for place in range(count)]


@style()
def confusion_chart(
    results: Results, group: AccuracyGroup, model: Model, classes: Sequence[str], found: Confusions, stem: str
) -> Chart | None:
    """Rows are true classes, columns what they were taken for; None where there are too many classes to see."""
    if not 2 <= len(classes) <= _MOST_CLASSES:
        return None
    names = [printable(name, 16) for name in classes]
    side = min(_CELL * len(classes), WIDTH - _LEFT - 90)
    seeds = len(results.cell(model, "top1").records)
    figure = new_figure(height=_TOP + side + _BOTTOM)
    _draw(figure, add_axes(figure, _LEFT, _BOTTOM, side, side), found, names, side)
    right = [float(share) for share in np.diag(found.shares)]
    best, worst = int(np.argmax(right)), int(np.argmin(right))
    return finished(
        figure,
        name=f"{stem}-confusion",
        kind="confusion",
        track=group.track,
        title=f"What {chart_name(model)} mistakes the test images for",
        conditions=f"the most accurate here: {chart_conditions(results, group)}; {found.tested.sum():,} test images"
        + (f" over {seeds} seeds" if seeds > 1 else ""),
        alt=(
            f"Confusion matrix of {chart_name(model)} on {group.dataset}, {len(classes)} classes: {classes[best]} is "
            f"recognised best ({quantity(right[best], 'fraction')}), {classes[worst]} worst "
            f"({quantity(right[worst], 'fraction')})."
        ),
        caption=most_confused(model, classes, found),
    )


def most_confused(model: Model, classes: Sequence[str], found: Confusions) -> str:
    """The pairs that a reader looks for: "ResNet-20 most often mistakes cat for dog (18.2 % of cat), ..."."""
    pairs = [
        f"{classes[label]} for {classes[other]} ({quantity(share, 'fraction')} of {classes[label]})"
        for label, other, share in found.most_confused(_PAIRS)
    ]
    if not pairs:
        return f"{chart_name(model)} recognises every test image."
    return f"{chart_name(model)} most often mistakes {', '.join(pairs)}."


def _draw(figure: Figure, axes: Axes, found: Confusions, names: Sequence[str], side: float) -> None:
    shares = found.shares
    # Colours follow the square root, so that a confusion of a few per cent can be seen.
    mesh = axes.pcolormesh(shares, cmap="cividis", norm=PowerNorm(0.5, 0, 1), linewidth=0, rasterized=len(names) > 24)
    axes.set_ylim(len(names), 0)
    axes.set_xlim(0, len(names))
    axes.grid(visible=False)
    places = [place + 0.5 for place in range(len(names))]
    small = SMALL if len(names) <= 24 else 6
    axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor", size=small)
    axes.set_yticks(places, names, size=small)
    axes.tick_params(length=0)
    axes.set_xlabel("Taken for", loc="left")
    axes.set_ylabel("Class of the image", loc="top")
    if len(names) <= _MOST_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                axes.text(
                    column + 0.5, row + 0.5, f"{100 * share:.0f}", ha="center", va="center",
                    color=_ON_DARK if share < 0.3 else _ON_LIGHT,
                )  # fmt: skip
    bar = figure.colorbar(mesh, cax=add_axes(figure, _LEFT + side + 24, _BOTTOM, 12, side))
    bar.set_ticks([0, 0.05, 0.2, 0.5, 1], labels=["0 %", "5 %", "20 %", "50 %", "100 %"])
    bar.outline.set_linewidth(0)
    bar.ax.grid(visible=False)
    axes.annotate("Share of the class", (1, 1), xytext=(20, 8), xycoords="axes fraction", textcoords="offset points")
