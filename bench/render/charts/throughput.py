"""Images per second of inference and training: at the batch size common to all, and at each network's best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.metrics import METRICS
from bench.quantity import quantity
from bench.render.charts.comparable import listing
from bench.render.charts.figure import Chart, save_png, save_svg
from bench.render.charts.palette import INK, MUTED, FamilyStyle
from bench.render.charts.points import set_log_axis
from bench.render.charts.rows import STATUS_WORDS, row_figure, write_status
from bench.render.results.header import Model
from bench.render.results.table import Cell, Results
from bench.render.tables.subtitles import measured_conditions

_KINDS = {"inference": "Inference", "train": "Training step"}


def throughput_chart(
    results: Results, models: Sequence[Model], styles: Mapping[str, FamilyStyle], stem: str
) -> Chart | None:
    """Dots on a logarithmic scale, fastest first; None with fewer than two networks that were timed."""
    rows = [model for model in models if any(_tried(cell) for cell in _cells(results, model).values())]
    rows.sort(key=lambda model: -_rank(results, model))
    timed = [model for model in rows if _rank(results, model) > 0]
    if len(timed) < 2:
        return None
    panels = [kind for kind in _KINDS if any(_tried(_cells(results, m)[f"{kind}_images_per_s"]) for m in rows)]
    best = any(_cells(results, model)[f"best_{kind}_images_per_s"].measured for model in rows for kind in panels)
    figure, axes = row_figure(
        rows,
        "Throughput",
        measured_conditions(results, models, *(METRICS[f"{kind}_images_per_s"] for kind in panels)),
        [f"{_KINDS[kind]} (images/s)" for kind in panels],
        _legend() if best else (),
    )
    for kind, panel in zip(panels, axes, strict=True):
        _draw_panel(panel, results, rows, kind, styles)
    smaller = [model.name for model in rows if _asked(results, model)]
    asked = [_asked(results, model) for model in rows if _asked(results, model)]
    fast = _cells(results, timed[0])
    return Chart(
        name=f"{stem}-throughput",
        kind="throughput",
        track=models[0].track,
        title="Throughput",
        alt=(
            f"Dot plot of images per second in {' and '.join(_KINDS[kind].lower() for kind in panels)} for "
            f"{len(timed)} networks; {timed[0].name} is the fastest with "
            f"{quantity(_fastest(fast), 'images/s')} images/s."
        ),
        caption=f"No dot at the common batch where batch {asked[0]} did not fit into memory: {listing(smaller)}."
        if smaller
        else "",
        svg=save_svg(figure),
        png=save_png(figure),
    )


def _draw_panel(
    axes: Axes, results: Results, rows: Sequence[Model], kind: str, styles: Mapping[str, FamilyStyle]
) -> None:
    drawn: list[float] = []
    for row, model in enumerate(rows):
        cells, colour = _cells(results, model), styles[model.family].colour
        equal, best = cells[f"{kind}_images_per_s"], cells[f"best_{kind}_images_per_s"]
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
            axes.plot([equal.value], [row], "o", color=colour, markersize=5, zorder=3)
        if best.measured:
            axes.plot([best.value], [row], "o", color=colour, markersize=5.5, markerfacecolor="none", zorder=3)
            axes.annotate(
                str(best.batch_size or ""), (max(at), row), xytext=(6, -0.3), textcoords="offset points", va="center",
                color=MUTED, size=7,
            )  # fmt: skip
    if drawn:
        set_log_axis(axes, "x", np.array(drawn), "count")  # ticks as "200 k"
        low, high = axes.get_xlim()
        axes.set_xlim(low, high * (high / low) ** 0.08)  # room for the batch size of the fastest


def _legend() -> list[Line2D]:
    words = "best batch, whose size is beside it"
    return [
        Line2D([], [], linestyle="", color=MUTED, marker="o", markersize=5, label="common batch"),
        Line2D([], [], linestyle="", color=MUTED, marker="o", markersize=5.5, markerfacecolor="none", label=words),
    ]


def _cells(results: Results, model: Model) -> dict[str, Cell]:
    return {
        f"{best}{kind}_images_per_s": results.cell(model, f"{best}{kind}_images_per_s")
        for kind in _KINDS
        for best in ("", "best_")
    }


def _tried(cell: Cell) -> bool:
    return cell.measured or cell.status in STATUS_WORDS


def _asked(results: Results, model: Model) -> int | None:
    """The common batch size, if one of the two steps could not be run at it."""
    cells = _cells(results, model)
    return next((asked for kind in _KINDS if (asked := cells[f"{kind}_images_per_s"].asked_batch_size)), None)


def _fastest(cells: Mapping[str, Cell]) -> float:
    return max((cell.value for cell in cells.values() if cell.measured), default=0.0)


def _rank(results: Results, model: Model) -> float:
    """What rows are sorted by: inference where it was measured, else training."""
    cells = _cells(results, model)
    in_order = (cells["inference_images_per_s"], cells["train_images_per_s"], *cells.values())
    return next((cell.value for cell in in_order if cell.measured), 0.0)
