"""Figures with one row per network: names at the left, one or more panels of bars or dots beside them.

Those of dots are here: the latency of one image, and the throughput of inference and training, on a logarithmic scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.metrics import METRICS, Metric
from bench.quantity import is_bytes, listing, quantity, tick
from bench.render.charts.frame import (
    INK,
    MOST_NAMED,
    MUTED,
    PAPER,
    SMALL,
    WIDTH,
    Chart,
    FamilyStyle,
    add_axes,
    chart_name,
    comparable,
    finished,
    identify,
    new_figure,
    slug,
    styles_of,
)
from bench.render.charts.points import set_log_axis
from bench.render.results.header import Model
from bench.render.results.table import Cell, Results
from bench.render.tables.subtitles import measured_conditions

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


def ranked(results: Results, models: Sequence[Model], metric: Metric) -> tuple[list[Model], list[Model], str]:
    """The networks with a value, the best first; those whose measurement failed; and who has no row and why."""
    cells = {model: results.cell(model, metric.name) for model in models}
    bad = [model for model, cell in cells.items() if not cell.measured and cell.status in STATUS_WORDS]
    good, missing = comparable(results, [model for model in models if model not in bad], metric.name)
    return sorted(good, key=lambda m: cells[m].value, reverse=metric.better == "higher"), bad, missing


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


_PERCENTILES: Mapping[str, dict[str, Any]] = {
    "latency_ms": {"label": "median", "marker": "o", "markersize": 5.0},
    "latency_p95_ms": {"label": "95th percentile", "marker": "|", "markersize": 8.0, "markeredgewidth": 1.4},
    "latency_p99_ms": {"label": "99th percentile", "marker": "o", "markersize": 4.5, "markerfacecolor": "none"},
}
_COMMON: dict[str, Any] = {"label": "common batch", "marker": "o", "markersize": 5.0}
_BEST: dict[str, Any] = {
    "label": "best batch (size beside it)", "marker": "o", "markersize": 5.5, "markerfacecolor": "none",
}  # fmt: skip
_KINDS = {"inference": "Inference", "train": "Training step"}


def _legend(*marks: dict[str, Any]) -> list[Line2D]:
    return [Line2D([], [], linestyle="", color=MUTED, **mark) for mark in marks]


def latency_chart(results: Results, models: Sequence[Model]) -> Chart | None:
    """A row per network, from its median to its 99th percentile; None with fewer than two networks."""
    metric, styles = METRICS["latency_ms"], styles_of(results)
    rows, bad, missing = ranked(results, models, metric)
    if len(rows) < 2:
        return None
    figure, (axes,) = row_figure([*rows, *bad], legend=_legend(*_PERCENTILES.values()), right=58)
    drawn: list[float] = []
    for row, model in enumerate(rows):
        at = {name: results.cell(model, name).value for name in _PERCENTILES if results.cell(model, name).measured}
        colour = styles[model.family].colour
        axes.plot([min(at.values()), max(at.values())], [row, row], color=colour, linewidth=1.1)
        for name, value in at.items():
            axes.plot([value], [row], color=colour, **_PERCENTILES[name])
        axes.annotate(
            f"{quantity(at['latency_ms'], 'ms')} ms", (1, row), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va="center",
        )  # fmt: skip
        drawn += at.values()
    for row, model in enumerate(bad, start=len(rows)):
        write_status(axes, row, results.cell(model, metric.name).status)
    set_log_axis(axes, "x", np.array(drawn), metric.unit)
    axes.set_xlabel("Latency (ms); medians at the right", loc="left")
    best, last = (f"{m.name} ({quantity(results.cell(m, metric.name).value, 'ms')} ms)" for m in (rows[0], rows[-1]))
    return finished(
        figure,
        name=f"{slug(models[0].track)}-latency",
        kind="latency",
        track=models[0].track,
        title=metric.label,
        conditions=measured_conditions(results, models, metric),
        alt=f"Dot plot of the latency of {len(rows)} networks, to the 99th percentile. Medians: {best} to {last}.",
        caption=missing,
    )


def throughput_chart(results: Results, models: Sequence[Model]) -> Chart | None:
    """Images per second at the batch size common to all and at each network's best, the fastest first.

    None with fewer than two networks that were timed.
    """
    cells = {model: _throughputs(results, model) for model in models}
    rows = [model for model in models if any(_tried(cell) for cell in cells[model].values())]
    rows.sort(key=lambda model: -_rank(cells[model]))
    timed = [model for model in rows if _rank(cells[model]) > 0]
    if len(timed) < 2:
        return None
    panels = [kind for kind in _KINDS if any(_tried(cells[model][f"{kind}_images_per_s"]) for model in rows)]
    best = any(cells[model][f"best_{kind}_images_per_s"].measured for model in rows for kind in panels)
    headings = [f"{_KINDS[kind]} (images/s)" for kind in panels]
    figure, axes = row_figure(rows, headings, _legend(_COMMON, _BEST) if best else ())
    for kind, panel in zip(panels, axes, strict=True):
        _draw_throughputs(panel, cells, rows, kind, styles_of(results))
    # The common batch size of those that could not be run at it.
    asked = {model.name: size for model in rows if (size := _asked(cells[model]))}
    fastest = max(cell.value for cell in cells[timed[0]].values() if cell.measured)
    return finished(
        figure,
        name=f"{slug(models[0].track)}-throughput",
        kind="throughput",
        track=models[0].track,
        title="Throughput",
        conditions=measured_conditions(results, models, *(METRICS[f"{kind}_images_per_s"] for kind in panels)),
        alt=(
            f"Dot plot of images per second in {' and '.join(_KINDS[kind].lower() for kind in panels)} for "
            f"{len(timed)} networks; {timed[0].name} is the fastest with {quantity(fastest, 'images/s')} images/s."
        ),
        caption=f"No dot at the common batch where batch {next(iter(asked.values()))} did not fit in memory: "
        f"{listing(list(asked), MOST_NAMED)}."
        if asked
        else "",
    )


def _draw_throughputs(
    axes: Axes,
    cells: Mapping[Model, Mapping[str, Cell]],
    rows: Sequence[Model],
    kind: str,
    styles: Mapping[str, FamilyStyle],
) -> None:
    drawn: list[float] = []
    for row, model in enumerate(rows):
        colour = styles[model.family].colour
        equal, best = cells[model][f"{kind}_images_per_s"], cells[model][f"best_{kind}_images_per_s"]
        if equal.status in STATUS_WORDS and not equal.measured and not best.measured:
            write_status(axes, row, equal.status)
        at = [cell.value for cell in (equal, best) if cell.measured and not (cell is equal and cell.asked_batch_size)]
        if not at:
            continue
        drawn += at
        axes.plot([min(at), max(at)], [row, row], color=MUTED, linewidth=0.9, zorder=1.5)
        if equal.measured and not equal.asked_batch_size:
            if equal.has_interval:
                axes.plot([equal.low, equal.high], [row, row], color=INK, linewidth=0.9, zorder=3.5)
            axes.plot([equal.value], [row], color=colour, zorder=3, **_COMMON)
        if best.measured:
            axes.plot([best.value], [row], color=colour, zorder=3, **_BEST)
            axes.annotate(
                str(best.batch_size or ""), (max(at), row), xytext=(6, -0.3), textcoords="offset points", va="center",
                color=MUTED,
            )  # fmt: skip
    if drawn:
        set_log_axis(axes, "x", np.array(drawn), "count")  # ticks as "200 k"
        low, high = axes.get_xlim()
        axes.set_xlim(low, high * (high / low) ** 0.09)  # room for the batch size of the fastest


def _throughputs(results: Results, model: Model) -> dict[str, Cell]:
    names = [f"{best}{kind}_images_per_s" for best in ("", "best_") for kind in _KINDS]
    return {name: results.cell(model, name) for name in names}


def _tried(cell: Cell) -> bool:
    return cell.measured or cell.status in STATUS_WORDS


def _asked(cells: Mapping[str, Cell]) -> int | None:
    """The common batch size, if one of the two steps could not be run at it."""
    return next((asked for kind in _KINDS if (asked := cells[f"{kind}_images_per_s"].asked_batch_size)), None)


def _rank(cells: Mapping[str, Cell]) -> float:
    """What rows are sorted by: inference where it was measured, else training."""
    return next((cell.value for cell in cells.values() if cell.measured), 0.0)
