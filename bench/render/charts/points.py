"""One point per network on axes of two metrics: logarithmic scales, markers with their intervals, names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.quantity import is_bytes, tick
from bench.render.charts.figure import chart_name
from bench.render.charts.labels import place_labels
from bench.render.charts.legends import MARKER_AREA
from bench.render.charts.palette import MUTED, PAPER, FamilyStyle, marker_size
from bench.render.results.header import Model
from bench.render.results.table import Cell

_DECADE = 150.0  # points that a decade must have for ticks between its ends

Span = tuple[float, float, float]  # lower limit, value, upper limit
Box = tuple[float, float, float, float]  # left, bottom, right, top


def span(cell: Cell, scale: float = 1.0) -> Span:
    """A value between its limits, which are the value itself where it has no interval."""
    low, high = (cell.low, cell.high) if cell.has_interval else (cell.value, cell.value)
    return scale * low, scale * cell.value, scale * high


def set_log_axis(axes: Axes, which: Literal["x", "y"], values: np.ndarray, unit: str) -> None:
    """A logarithmic scale around positive values, with ticks at round numbers of their unit."""
    low, high = math.log(float(values.min())), math.log(float(values.max()))
    margin = max(0.09 * (high - low), 0.25)
    limits = math.exp(low - margin), math.exp(high + margin)
    base = 2 if is_bytes(unit) else 10
    if which == "x":
        axes.set_xscale("log", base=base)
        axes.set_xlim(*limits)
    else:
        axes.set_yscale("log", base=base)
        axes.set_ylim(*limits)
    axis = axes.xaxis if which == "x" else axes.yaxis
    if is_bytes(unit):
        octaves = max(1, round((high - low) / math.log(2) / 6))
        axis.set_major_locator(LogLocator(base=2**octaves, numticks=20))
    else:
        length = axes.bbox.width if which == "x" else 2 * axes.bbox.height  # ticks stand closer above each other
        subs = (1.0,) if length / math.log10(limits[1] / limits[0]) < _DECADE else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=20))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, unit)))


def draw_points(
    axes: Axes, models: Sequence[Model], spans: Sequence[tuple[Span, Span]], styles: Mapping[str, FamilyStyle]
) -> None:
    """Markers in the colour and shape of their family, with whiskers for the intervals of x and y."""
    left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    for model, ((x_low, x, x_high), (y_low, y, y_high)) in zip(models, spans, strict=True):
        style = styles[model.family]
        whiskers: dict[str, Any] = {"color": style.colour, "linewidth": 1.0, "zorder": 2.5}
        if x_high > x_low:
            axes.plot([max(x_low, left), x_high], [y, y], **whiskers)
        if y_high > y_low:
            axes.plot([x, x], [max(y_low, bottom), y_high], **whiskers)
        axes.scatter(
            [x], [y], s=marker_size(style.marker, MARKER_AREA), marker=MarkerStyle(style.marker), color=style.colour,
            edgecolors=PAPER, linewidths=0.7, zorder=3,
        )  # fmt: skip


def name_points(
    figure: Figure,
    axes: Axes,
    models: Sequence[Model],
    spans: Sequence[tuple[Span, Span]],
    reserved: Sequence[Box],
) -> list[str]:
    """Write the names, with a leader line where one is not beside its point; returns those without room.

    `reserved` are boxes, as fractions of the axes, that must stay free.
    """
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]  # the Agg canvas has one
    texts = [
        axes.annotate(
            chart_name(model), (x, y), xytext=(0, 0), textcoords="offset points", size=7.5, zorder=5, va="bottom",
            bbox={"boxstyle": "square,pad=0.05", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.6},
        )
        for model, ((_, x, _), (_, y, _)) in zip(models, spans, strict=True)
    ]  # fmt: skip
    extents = [text.get_window_extent(renderer) for text in texts]
    sizes = np.array([[extent.width, extent.height] for extent in extents])
    limits = np.array(spans)  # (networks, axis, low | value | high)
    low, points, high = (np.asarray(axes.transData.transform(limits[:, :, i]), dtype=float) for i in range(3))
    whiskers = np.concatenate(
        [
            np.column_stack([low[:, 0], points[:, 1] - 1, high[:, 0], points[:, 1] + 1]),
            np.column_stack([points[:, 0] - 1, low[:, 1], points[:, 0] + 1, high[:, 1]]),
        ]
    )
    frame = axes.get_window_extent(renderer)
    corner = np.array([frame.x0, frame.y0] * 2)
    boxes = corner + np.array(reserved).reshape(-1, 4) * np.array([frame.width, frame.height] * 2)
    placement = place_labels(points, sizes, (frame.x0, frame.y0, frame.x1, frame.y1), boxes, whiskers)
    for text, point, corner, end in zip(texts, points, placement.corners, placement.leaders, strict=True):
        if np.isnan(corner).any():
            text.remove()
            continue
        text.set_position(tuple(corner - point))
        if np.linalg.norm(end - point) > 11:
            axes.annotate(
                "", text.xy, xytext=tuple(end - point), textcoords="offset points", zorder=2.7,
                arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4},
            )  # fmt: skip
    return [model.name for model, corner in zip(models, placement.corners, strict=True) if np.isnan(corner).any()]
