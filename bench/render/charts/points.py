"""One point per network on axes of two metrics: markers with their intervals, names, balls and legends.

Where to write the names so that none covers another, leaves the axes or hides a point: a greedy search with repair.
Every label has some hundred candidate places around its point; the most crowded points choose first, then all choose
again, given the others, until nothing moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from numpy.typing import NDArray

from bench.metrics import Metric
from bench.quantity import in_sentence, quantity, tick
from bench.render.charts.frame import (
    HEIGHT,
    MUTED,
    PAPER,
    SMALL,
    WIDTH,
    Array,
    Chart,
    FamilyStyle,
    add_axes,
    chart_name,
    finished,
    identify,
    marker_size,
    new_figure,
    printable,
    styles_of,
    without_room,
)
from bench.render.results import Results
from bench.render.results.networks import Model

FRONT_DASHES = (0, (5, 2))
_BOTTOM = 46.0  # of the axes, in points
_LEGEND = 578.0  # from the left
_MARKER_AREA = 36.0  # square points
_LARGEST_BALL = 44.0  # diameter in points


@dataclass(frozen=True)
class Layout:
    """Sizes in points: of the figure, and where its axes are."""

    width: float
    height: float
    left: float
    wide: float
    tall: float
    reach: float = math.inf  # how far from its point a name may stand, unless that is on the front


PAGE = Layout(WIDTH, HEIGHT, 66.0, 500.0, 366.0)
# Without a legend of families, since every network has its name: for half a page; and for a telephone, which shows it
# at 1.28 pixels for a point, so that text has 11.
HALF = Layout(420.0, 400.0, 48.0, 360.0, 296.0)
PHONE = Layout(270.0, 350.0, 44.0, 218.0, 240.0, reach=60.0)

Span = tuple[float, float, float]  # lower limit, value, upper limit
Box = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(frozen=True)
class Point:
    """A network, and its two values with their limits."""

    model: Model
    x: Span
    y: Span
    hollow: bool = False  # not measured in this run
    always_named: bool = False  # as those on the front and the user's own


@dataclass(frozen=True)
class Panel:
    """Axes with points on them."""

    points: Sequence[Point]
    x_label: str
    y_label: str
    # Sets the scales and draws what lies behind the points; returns boxes, as fractions of the axes, that no name may
    # cover.
    prepare: Callable[[Axes], Sequence[Box]]


def point_figure(
    panel: Panel,
    styles: Mapping[str, FamilyStyle],
    *,
    front: bool = False,
    balls: tuple[Metric, Mapping[Model, float]] | None = None,
    layout: Layout = PAGE,
) -> tuple[Figure, str]:
    """The panel with a legend of the families at the right; and the names that have no room.

    Args:
        front: the legend names a Pareto front, which the panel has drawn.
        balls: networks are drawn as balls whose area is in proportion to a metric.
        layout: of another than that of a page, no legend of the families is drawn.
    """
    points = panel.points
    figure = new_figure(layout.width, layout.height)
    axes = add_axes(figure, layout.left, _BOTTOM, layout.wide, layout.tall)
    axes.set_xlabel(panel.x_label, loc="left")
    axes.set_ylabel(panel.y_label, loc="top")
    reserved = panel.prepare(axes)
    if balls is not None:
        _draw_balls(axes, points, balls[1], styles, scale=min(1.0, layout.wide / HALF.wide))
    _draw_points(axes, points, styles)
    unnamed = name_points(axes, points, reserved, layout.reach)
    entries = _other_entries(front, {point.hollow for point in points})
    if layout is PAGE:
        families = dict.fromkeys(point.model.family for point in points)
        entries = [(printable(family, 20), _legend_marker(styles[family])) for family in families] + entries
        if balls is not None:
            _draw_ball_legend(figure, balls[0], [balls[1][point.model] for point in points])
    elif balls is not None:
        ball = {"markersize": 10, "alpha": 0.33}
        known = [value for point in points if (value := balls[1][point.model]) > 0]
        scale = f", up to {quantity(max(known), balls[0].unit)}" if known and layout is not PHONE else ""
        entries.append((f"balls: {in_sentence(balls[0])}{scale}", _legend_marker(FamilyStyle(MUTED, "o"), **ball)))
    _draw_legend(figure, layout, entries)
    return figure, without_room(unnamed)


def point_chart(results: Results, panel: Panel, *, caption: str, **facts: str) -> Chart:
    """The figure of a panel, finished with these `facts`; its caption ends with the names that have no room."""
    figure, unnamed = point_figure(panel, styles_of(results))
    return finished(figure, caption=f"{caption} {unnamed}", **facts)


def exact(value: float) -> Span:
    """A value without an interval."""
    return value, value, value


def ball_areas(params: Sequence[float]) -> np.ndarray:
    """matplotlib's `s` (squared diameter in points) in proportion to the parameters; 0 where unknown."""
    known = np.nan_to_num(np.asarray(params, dtype=float), nan=0.0)
    areas: np.ndarray = known / max(float(known.max()), 1.0) * _LARGEST_BALL**2
    return areas


def _draw_balls(
    axes: Axes, points: Sequence[Point], params: Mapping[Model, float], styles: Mapping[str, FamilyStyle], scale: float
) -> None:
    """The largest first, so that none hides a smaller one; their diameters times `scale`."""
    areas = scale**2 * ball_areas([params[point.model] for point in points])
    order = np.argsort(-areas, kind="stable")
    axes.scatter(
        [points[i].x[1] for i in order], [points[i].y[1] for i in order], s=areas[order], alpha=0.33, zorder=2,
        c=[styles[points[i].model.family].colour for i in order], edgecolors=PAPER, linewidths=0.8, clip_on=False,
    )  # fmt: skip


def _draw_points(axes: Axes, points: Sequence[Point], styles: Mapping[str, FamilyStyle]) -> None:
    """Markers in the colour and shape of their family, with whiskers for the intervals of x and y."""
    left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    for point in points:
        (x_low, x, x_high), (y_low, y, y_high) = point.x, point.y
        style = styles[point.model.family]
        whiskers: dict[str, Any] = {"color": style.colour, "linewidth": 1.0, "zorder": 2.5}
        if x_high > x_low:
            axes.plot([max(x_low, left), x_high], [y, y], **whiskers)
        if y_high > y_low:
            axes.plot([x, x], [max(y_low, bottom), y_high], **whiskers)
        fill: dict[str, Any] = {"facecolors": style.colour, "edgecolors": PAPER, "linewidths": 0.7}
        if point.hollow:
            fill = {"facecolors": PAPER, "edgecolors": style.colour, "linewidths": 1.4}
        size = marker_size(style.marker, _MARKER_AREA)
        identify(axes.scatter([x], [y], s=size, marker=MarkerStyle(style.marker), zorder=3, **fill), point.model.name)


def name_points(
    axes: Axes, points: Sequence[Point], reserved: Sequence[Box] = (), reach: float = math.inf
) -> list[str]:
    """Write the names, with a leader line where one is not beside its point; returns those without room.

    `reserved` are boxes, as fractions of the axes, that must stay free. Where a name would stand farther than `reach`
    points from what it names, it is left out; if that is always named, the name of its nearest neighbour is.
    """
    if not points:
        return []
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]  # the Agg canvas has one
    texts = [
        axes.annotate(
            chart_name(point.model), (point.x[1], point.y[1]), xytext=(0, 0), textcoords="offset points", size=SMALL,
            zorder=5, va="bottom", bbox={"boxstyle": "square,pad=0.05", "facecolor": PAPER, "edgecolor": "none",
            "alpha": 0.6},
        )
        for point in points
    ]  # fmt: skip
    extents = [text.get_window_extent(renderer) for text in texts]
    sizes = np.array([[extent.width, extent.height] for extent in extents])
    limits = np.array([(point.x, point.y) for point in points])  # (networks, axis, low | value | high)
    low, at, high = (np.asarray(axes.transData.transform(limits[:, :, i]), dtype=float) for i in range(3))
    whiskers = np.concatenate(
        [
            np.column_stack([low[:, 0], at[:, 1] - 1, high[:, 0], at[:, 1] + 1]),
            np.column_stack([at[:, 0] - 1, low[:, 1], at[:, 0] + 1, high[:, 1]]),
        ]
    )
    frame = axes.get_window_extent(renderer)
    corner = np.array([frame.x0, frame.y0] * 2)
    boxes = corner + np.array(reserved).reshape(-1, 4) * np.array([frame.width, frame.height] * 2)
    while True:
        corners = place_labels(at, sizes, (frame.x0, frame.y0, frame.x1, frame.y1), boxes, whiskers)
        # From what each name stands for to the nearest point of the name.
        leaders = np.clip(at, corners, corners + sizes) - at
        away = np.where(sizes.any(axis=1), np.nan_to_num(np.linalg.norm(leaders, axis=1)), 0)
        farthest = int(np.argmax(away))
        yielding = [n for n, point in enumerate(points) if sizes[n].any() and not point.always_named]
        if away[farthest] <= reach or not yielding:
            break
        # Without a size, a name hinders no other; one that stays moves up to where its neighbour's was.
        sizes[min(yielding, key=lambda n: np.linalg.norm(at[n] - at[farthest]))] = 0
    corners[~sizes.any(axis=1)] = np.nan
    unnamed: list[str] = []
    for n, (text, point) in enumerate(zip(texts, points, strict=True)):
        corner, end = corners[n] - at[n], leaders[n]
        if np.isnan(corner).any():
            text.remove()
            unnamed.append(text.get_text())
            continue
        text.set_position(tuple(corner))
        identify(text, point.model.name)
        if np.linalg.norm(end) > 11:
            axes.annotate(
                "", text.xy, xytext=tuple(end), textcoords="offset points", zorder=2.7,
                arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4},
            )  # fmt: skip
    return unnamed


def _draw_legend(figure: Figure, layout: Layout, entries: Sequence[tuple[str, Line2D]]) -> None:
    """Right of the axes of a page; else beside the label of the x axis, where no point can be."""
    if layout is PAGE:
        place: dict[str, Any] = {"loc": "upper left", "handletextpad": 0.5, "labelspacing": 0.36}
        corner = _LEGEND / WIDTH, (HEIGHT - 58) / HEIGHT
    else:
        place = {"loc": "lower right", "handletextpad": 0.4, "labelspacing": 0.2, "columnspacing": 1.0}
        place |= {"ncols": 2, "handlelength": 1.4} if layout is PHONE else {"ncols": 4}
        corner = (layout.left + layout.wide) / layout.width, 3 / layout.height
    labels, handles = [label for label, _ in entries], [handle for _, handle in entries]
    figure.legend(handles, labels, bbox_to_anchor=corner, borderaxespad=0, **place)


def _legend_marker(style: FamilyStyle, **changes: Any) -> Line2D:
    size = math.sqrt(marker_size(style.marker, _MARKER_AREA))
    look = {"color": style.colour, "marker": MarkerStyle(style.marker), "markersize": size, "markeredgewidth": 0}
    return Line2D([], [], linestyle="", **{**look, **changes})


def _other_entries(front: bool, fills: set[bool]) -> list[tuple[str, Line2D]]:
    """A Pareto front, and what hollow markers mean and filled ones beside them."""
    entries = [("Pareto front", Line2D([], [], color=MUTED, linewidth=1.2, linestyle=FRONT_DASHES))] if front else []
    if True in fills:
        plain = FamilyStyle(MUTED, "o")
        hollow = _legend_marker(plain, markerfacecolor=PAPER, markeredgecolor=MUTED, markeredgewidth=1.4)
        entries += [("measured here", _legend_marker(plain))] if False in fills else []
        entries.append(("reference", hollow))
    return entries


def _draw_ball_legend(figure: Figure, metric: Metric, values: Sequence[float]) -> None:
    """Nested balls: a round number of what they show, such as parameters, a fifth and a fiftieth of it."""
    largest = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    if largest <= 0:
        return
    top = 10 ** math.floor(math.log10(largest))
    top *= max(step for step in (1, 2, 3, 5) if step * top <= largest)
    legend = add_axes(figure, _LEGEND, _BOTTOM, 134, 74)
    legend.set_axis_off()
    legend.set_xlim(0, 134)
    legend.set_ylim(0, 74)
    legend.text(0, 62, f"Ball area: {in_sentence(metric)}", va="bottom")
    for count, height in zip((top, top / 5, top / 50), (42.0, 23.0, 4.0), strict=True):
        diameter = math.sqrt(count / largest) * _LARGEST_BALL
        legend.scatter([25], [2 + diameter / 2], s=diameter**2, facecolors="none", edgecolors=MUTED, linewidths=0.8)
        legend.plot([25, 54], [2 + diameter, height + 4], color=MUTED, linewidth=0.5)
        legend.text(57, height + 4, tick(count, metric.unit), va="center")


# --- Where to write the names ---

_ANGLES = np.arange(24) * (2 * np.pi / 24)
_DISTANCES = (2.0, 7.0, 14.0, 23.0, 34.0, 48.0, 66.0, 90.0, 120.0, 160.0)
_PAD = 1.5  # clear space kept around every label
_MARKER = 5.0  # half the width of the square that a point's marker takes
_SWEEPS = 12
# Prices in points of distance. The first two are faults: a place that has one is never used.
_OUTSIDE = _COVERED = 1e6
_HIDES_MARKER, _CROSSES_LABEL, _CROSSES_LEADER, _UNDER_LINE, _HIDES_WHISKER = 900.0, 220.0, 60.0, 25.0, 10.0


def place_labels(
    points: Array, sizes: Array, bounds: tuple[float, float, float, float], obstacles: Array, whiskers: Array
) -> Array:
    """Lower left corners of `sizes` (n, 2) boxes that name `points` (n, 2); nan in the rows that found no free place.

    All are in the same units (points of 1/72 inch). `bounds` is (left, bottom, right, top); `obstacles` (m, 4) are
    such boxes to keep free, `whiskers` (k, 4) ones that are better kept free.
    """
    n = len(points)
    markers = np.column_stack([points - _MARKER, points + _MARKER])
    candidates = [_candidates(points[i], sizes[i], bounds) for i in range(n)]
    alone = [
        _price_alone(candidates[i], i, points, markers, bounds, obstacles)
        + _overlaps(candidates[i], whiskers).sum(axis=1) * _HIDES_WHISKER
        for i in range(n)
    ]

    chosen = np.full(n, -1)
    near = np.linalg.norm(points[:, None] - points[None], axis=2) < 90
    order = np.argsort(-near.sum(axis=1), kind="stable")
    for _ in range(_SWEEPS):
        before = chosen.copy()
        for i in order:
            others = [j for j in range(n) if j != i and chosen[j] >= 0]
            boxes = np.array([candidates[j][chosen[j]] for j in others]).reshape(-1, 4)
            price = alone[i] + _price_among(candidates[i], points[i], boxes, points[others])
            chosen[i] = int(np.argmin(price))
        if (before == chosen).all():
            break

    placed = np.array([candidates[i][chosen[i]] for i in range(n)])
    _drop_faulty(placed, [alone[i][chosen[i]] for i in range(n)])
    return placed[:, :2] + _PAD


def _candidates(point: Array, size: Array, bounds: tuple[float, float, float, float]) -> Array:
    """Boxes (k, 4) around a point, nearest first, then a coarse grid over the bounds as a last resort."""
    width, height = size + 2 * _PAD
    directions = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
    reach = np.array(_DISTANCES)[:, None, None] + _MARKER
    centres = (point + directions * reach + directions * np.array([width, height]) / 2).reshape(-1, 2)
    left, bottom, right, top = bounds
    grid_x, grid_y = np.meshgrid(
        np.linspace(left + width / 2, right - width / 2, 16),
        np.linspace(bottom + height / 2, top - height / 2, 24),
    )
    centres = np.concatenate([centres, np.column_stack([grid_x.ravel(), grid_y.ravel()])])
    half = np.array([width, height]) / 2
    return np.column_stack([centres - half, centres + half])


def _price_alone(
    boxes: Array, own: int, points: Array, markers: Array, bounds: tuple[float, float, float, float], obstacles: Array
) -> Array:
    """What each candidate costs whatever the other labels do."""
    left, bottom, right, top = bounds
    outside = (boxes[:, 0] < left) | (boxes[:, 1] < bottom) | (boxes[:, 2] > right) | (boxes[:, 3] > top)
    nearest = np.clip(points[own], boxes[:, :2], boxes[:, 2:])
    distance = np.linalg.norm(nearest - points[own], axis=1)
    hides = _overlaps(boxes, markers).sum(axis=1)
    crosses = _segments_hit(points[own], nearest, np.delete(markers, own, axis=0)).sum(axis=1)
    return (
        outside * _OUTSIDE
        + _overlaps(boxes, obstacles).sum(axis=1) * _COVERED
        + hides * _HIDES_MARKER
        + crosses * _UNDER_LINE
        + distance * (1 + distance / 100)  # one long leader line is worse than two short ones
    )


def _price_among(boxes: Array, point: Array, others: Array, other_points: Array) -> Array:
    """What each candidate costs given the labels placed so far."""
    nearest = np.clip(point, boxes[:, :2], boxes[:, 2:])
    covered = _overlaps(boxes, others).sum(axis=1)
    over_label = _segments_hit(point, nearest, others).sum(axis=1)
    other_ends = np.clip(other_points, others[:, :2], others[:, 2:])
    cuts = _segments_cross(point, nearest, other_points, other_ends).sum(axis=1)
    under = _segments_hit(other_points, other_ends, boxes).sum(axis=0)
    return covered * _COVERED + (over_label + under) * _CROSSES_LABEL + cuts * _CROSSES_LEADER


def _drop_faulty(placed: Array, price: list[float]) -> None:
    for i, box in enumerate(placed):
        rest = np.delete(placed, i, axis=0)
        if price[i] >= _OUTSIDE or _overlaps(box[None], rest).any():
            placed[i] = np.nan


def _overlaps(boxes: Array, others: Array) -> NDArray[np.bool_]:
    """(k, m): whether box k and other m share area; nan shares nothing."""
    a, b = boxes[:, None], others[None]
    return (a[..., 0] < b[..., 2]) & (b[..., 0] < a[..., 2]) & (a[..., 1] < b[..., 3]) & (b[..., 1] < a[..., 3])


def _segments_hit(starts: Array, ends: Array, boxes: Array) -> NDArray[np.bool_]:
    """(k, m): whether segment k passes through box m (Liang-Barsky clipping); one start may serve all."""
    entered, left = [], []
    for axis in (0, 1):  # a loop over two is faster than an array axis of length two
        start = np.broadcast_to(starts, ends.shape)[:, axis, None]
        delta = ends[:, axis, None] - start
        delta = np.where(np.abs(delta) < 1e-9, 1e-9, delta)
        one, other = (boxes[None, :, axis] - start) / delta, (boxes[None, :, axis + 2] - start) / delta
        entered.append(np.minimum(one, other))
        left.append(np.maximum(one, other))
    first, last = np.maximum(*entered), np.minimum(*left)
    return (first < last) & (last > 0) & (first < 1)


def _segments_cross(start: Array, ends: Array, other_starts: Array, other_ends: Array) -> NDArray[np.bool_]:
    """(k, m): whether the segment from `start` to end k crosses the other segment m."""
    ends = ends[:, None]

    def side(a: Array, b: Array, c: Array) -> Array:
        return np.asarray(
            (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
        )

    apart = side(start, ends, other_starts) * side(start, ends, other_ends)
    split = side(other_starts, other_ends, start) * side(other_starts, other_ends, ends)
    return (apart < 0) & (split < 0)
