"""What the most accurate network took the test images of each class for, as a heat map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from bench.quantity import quantity
from bench.render.charts.figure import Chart, add_axes, look, new_figure, printable, save_png, save_svg, write_title
from bench.render.results.header import Model
from bench.render.results.image_grid import Confusions
from bench.render.results.table import AccuracyGroup, Results
from bench.render.tables.subtitles import chart_conditions

_WIDTH = 720.0
_LEFT, _TOP, _BOTTOM = 110.0, 62.0, 84.0
_CELL = 34.0
_MOST_NUMBERS, _MOST_CLASSES = 16, 60
_PAIRS = 3  # that the caption names
# Unlike the figure's own ink these stay as they are in dark mode, as the cells behind them do.
_ON_DARK, _ON_LIGHT = "#ffffff", "#101010"


def confusion_chart(
    results: Results, group: AccuracyGroup, model: Model, classes: Sequence[str], found: Confusions, stem: str
) -> Chart | None:
    """Rows are true classes, columns what they were taken for; None where there are too many classes to see."""
    if not 2 <= len(classes) <= _MOST_CLASSES:
        return None
    names = [printable(name, 16) for name in classes]
    side = min(_CELL * len(classes), _WIDTH - _LEFT - 90)
    title = f"What {printable(model.name)} mistakes the test images for"
    seeds = len(results.cell(model, "top1").records)
    conditions = f"the most accurate here: {chart_conditions(results, group)}; {found.tested.sum():,} test images" + (
        f" over {seeds} seeds" if seeds > 1 else ""
    )
    with look():
        figure = new_figure(_WIDTH, _TOP + side + _BOTTOM)
        write_title(figure, title, conditions)
        axes = add_axes(figure, _LEFT, _BOTTOM, side, side)
        _draw(figure, axes, found, names, side)
        shares = found.shares
        right = [float(shares[place, place]) for place in range(len(classes))]
        best, worst = int(np.argmax(right)), int(np.argmin(right))
        return Chart(
            name=f"{stem}-confusion",
            kind="confusion",
            track=group.track,
            title=title,
            alt=(
                f"Confusion matrix of {model.name} on {group.dataset}, {len(classes)} classes: {classes[best]} is "
                f"recognised best ({quantity(right[best], 'fraction')}), {classes[worst]} worst "
                f"({quantity(right[worst], 'fraction')})."
            ),
            caption=most_confused(model, classes, found),
            svg=save_svg(figure),
            png=save_png(figure),
        )


def most_confused(model: Model, classes: Sequence[str], found: Confusions) -> str:
    """ "resnet20_cifar most often mistakes cat for dog (18.2 % of cat), ...": the pairs that a reader looks for."""
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
    small = 8.5 if len(names) <= 24 else 6
    axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor", size=small)
    axes.set_yticks(places, names, size=small)
    axes.tick_params(length=0)
    axes.set_xlabel("Taken for", loc="left")
    axes.set_ylabel("Class of the image", loc="top")
    if len(names) <= _MOST_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                axes.text(
                    column + 0.5, row + 0.5, f"{100 * share:.0f}", ha="center", va="center", size=8,
                    color=_ON_DARK if share < 0.3 else _ON_LIGHT,
                )  # fmt: skip
    bar = figure.colorbar(mesh, cax=add_axes(figure, _LEFT + side + 24, _BOTTOM, 12, side))
    bar.set_ticks([0, 0.05, 0.2, 0.5, 1], labels=["0 %", "5 %", "20 %", "50 %", "100 %"])
    bar.outline.set_linewidth(0)
    bar.ax.grid(visible=False)
    axes.annotate("Share of the class", (1, 1), xytext=(20, 8), xycoords="axes fraction", textcoords="offset points")
