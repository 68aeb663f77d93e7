"""Figures with one row per network: names at the left, one or more panels of bars or dots beside them."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.quantity import is_bytes, tick
from bench.render.charts.frame import SMALL, WIDTH, add_axes, chart_name, identify, new_figure
from bench.render.charts.palette import MUTED, PAPER
from bench.render.results.header import Model
from bench.render.results.table import Results

_ROW = 15.0
_TOP, _BOTTOM, _GAP = 62.0, 40.0, 22.0
_LEGEND, _PANEL_TITLE = 16.0, 14.0
STATUS_WORDS = {"oom": "out of memory", "timeout": "timed out", "failed": "failed"}


def row_figure(
    models: Sequence[Model],
    panels: Sequence[str] = ("",),
    legend: Sequence[Line2D | Patch] = (),
    right: float = 16.0,
) -> tuple[Figure, list[Axes]]:
    """A figure with a row for each network, its legend, and empty axes for each panel title.

    `right` points are kept free beside each panel.
    """
    top = _TOP + (_LEGEND if legend else 0) + (_PANEL_TITLE if any(panels) else 0)
    height = top + _ROW * len(models) + _BOTTOM
    figure = new_figure(height=height)
    names = [chart_name(model) for model in models]
    left = 18 + 5.4 * max(map(len, names))
    if legend:
        figure.legend(
            handles=list(legend), ncols=len(legend), loc="upper left", columnspacing=1.4, handletextpad=0.5,
            bbox_to_anchor=(left / WIDTH, (height - _TOP + 8) / height), borderaxespad=0, handlelength=1.4,
        )  # fmt: skip
    width = (WIDTH - left - _GAP * (len(panels) - 1)) / len(panels) - right
    found: list[Axes] = []
    for number, words in enumerate(panels):
        axes = add_axes(figure, left + number * (width + right + _GAP), _BOTTOM, width, _ROW * len(models))
        axes.set_title(words, loc="left", size=SMALL, weight="bold", pad=4)
        axes.set_yticks(range(len(models)), names if number == 0 else [""] * len(names))
        for label, model in zip(axes.get_yticklabels(), models, strict=True):
            identify(label, model.name)
        axes.set_ylim(len(models) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        found.append(axes)
    return figure, found


def without_value(results: Results, models: Sequence[Model], metric: str) -> list[Model]:
    """The networks whose measurement failed; those that were skipped have no row."""
    return [
        model
        for model in models
        if not results.cell(model, metric).measured and results.cell(model, metric).status in STATUS_WORDS
    ]


def stack_bars(axes: Axes, parts: Sequence[Sequence[float]], colours: Sequence[str]) -> None:
    """A bar per row, of parts one after another: `parts` are the sizes of each part, row by row."""
    left = [0.0] * len(parts[0])
    for sizes, colour in zip(parts, colours, strict=True):
        axes.barh(range(len(sizes)), sizes, left=left, height=0.7, linewidth=0.4, edgecolor=PAPER, color=colour)
        left = [start + size for start, size in zip(left, sizes, strict=True)]


def write_beside(axes: Axes, row: int, end: float, words: str) -> None:
    """Words right of the end of a row's bar."""
    axes.annotate(words, (end, row), va="center", xytext=(4, 0), textcoords="offset points")


def write_status(axes: Axes, row: int, status: str) -> None:
    """Words such as "out of memory" where a row has no bar or dot."""
    axes.annotate(
        STATUS_WORDS[status], (0, row), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
        va="center", color=MUTED,
    )  # fmt: skip


def scale_from_zero(axes: Axes, most: float, unit: str) -> None:
    """A linear scale up to `most`, with ticks at round numbers of their unit."""
    axes.set_xlim(0, max(most, 0) * 1.02 or 1)
    axes.xaxis.set_major_locator(_BinaryLocator() if is_bytes(unit) else MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, unit)))


class _BinaryLocator(MaxNLocator):
    """Ticks at round numbers of KiB, MiB or GiB."""

    def __init__(self) -> None:
        super().__init__(6)

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        unit = 1.0
        while vmax / unit >= 1024:
            unit *= 1024
        return [float(value) * unit for value in super().tick_values(vmin / unit, vmax / unit)]
