"""The figures of a run's images: what each data set looks like, and where its most accurate network errs."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from PIL import Image

from bench.quantity import quantity
from bench.records.run_folder import Run
from bench.render.charts.frame import (
    SMALL,
    WIDTH,
    Chart,
    add_axes,
    chart_name,
    finished,
    new_figure,
    printable,
    slug,
    style,
)
from bench.render.results.header import Model
from bench.render.results.kept import Confusions, DataSet, read_confusions, read_data_sets
from bench.render.results.table import AccuracyGroup, Results
from bench.render.tables.subtitles import chart_conditions

KINDS = ("samples", "confusion")

_COLUMNS = 5  # of the grid
_TILE, _GAP, _NAME = 124.0, 14.0, 18.0  # points
_GRID_LEFT, _GRID_TOP, _GRID_BOTTOM = 16.0, 50.0, 8.0
_LEFT, _TOP, _BOTTOM = 110.0, 62.0, 84.0
_CELL = 34.0
_MOST_NUMBERS, _MOST_CLASSES = 16, 60
_PAIRS = 3  # that the caption names
# Unlike the figure's own ink these stay as they are in dark mode, as the cells behind them do.
_ON_DARK, _ON_LIGHT = "#ffffff", "#101010"


def image_charts(run: Run, results: Results) -> tuple[list[Chart], list[str]]:
    """For each data set its images and the confusion matrix; and the names of the files that cannot be read."""
    charts: list[Chart | None] = []
    unreadable: list[str] = []
    for data_set in read_data_sets(run):
        stem = f"{slug(data_set.track)}-{slug(data_set.name)}"
        charts.append(sample_chart(data_set, stem))
        for group in results.accuracy_groups():
            if (group.track, group.dataset) == (data_set.track, data_set.name):
                chart, damaged = _confusions(run, results, group, data_set, stem)
                charts.append(chart)
                unreadable += damaged
                break  # the largest group: under one budget
    return [chart for chart in charts if chart is not None], unreadable


def _confusions(
    run: Run, results: Results, group: AccuracyGroup, data_set: DataSet, stem: str
) -> tuple[Chart | None, list[str]]:
    best = max(group.models, key=lambda model: results.cell(model, "top1").value)
    found, unreadable = read_confusions(run, results.cell(best, "top1").records, len(data_set.classes))
    if found is None:
        return None, unreadable
    return confusion_chart(results, group, best, data_set.classes, found, stem), unreadable


@style()
def sample_chart(data_set: DataSet, stem: str) -> Chart | None:
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
            f"Confusion matrix of {model.name} on {group.dataset}, {len(classes)} classes: {classes[best]} is "
            f"recognised best ({quantity(right[best], 'fraction')}), {classes[worst]} worst "
            f"({quantity(right[worst], 'fraction')})."
        ),
        caption=most_confused(model, classes, found),
    )


def most_confused(model: Model, classes: Sequence[str], found: Confusions) -> str:
    """The pairs that a reader looks for: "resnet20_cifar most often mistakes cat for dog (18.2 % of cat), ..."."""
    pairs = [
        f"{classes[label]} for {classes[other]} ({quantity(share, 'fraction')} of {classes[label]})"
        for label, other, share in found.most_confused(_PAIRS)
    ]
    if not pairs:
        return f"{model.name} recognises every test image."
    return f"{model.name} most often mistakes {', '.join(pairs)}."


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
