"""Where to write the names of points so that none covers another, leaves the axes or hides a point.

A greedy search with repair: every label has some hundred candidate places around its point; the most crowded
points choose first, then all choose again, given the others, until nothing moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Array = NDArray[np.float64]

_ANGLES = np.arange(24) * (2 * np.pi / 24)
_DISTANCES = (2.0, 7.0, 14.0, 23.0, 34.0, 48.0, 66.0, 90.0, 120.0, 160.0)
_PAD = 1.5  # clear space kept around every label
_MARKER = 5.0  # half the width of the square that a point's marker takes
_SWEEPS = 12

# Prices in points of distance. The first two are faults: a place that has one is never used.
_OUTSIDE = _COVERED = 1e6
_HIDES_MARKER, _CROSSES_LABEL, _CROSSES_LEADER, _UNDER_LINE, _HIDES_WHISKER = 900.0, 220.0, 60.0, 25.0, 10.0


@dataclass(frozen=True)
class Placement:
    """Lower left corners of the labels, (n, 2), with nan in the rows that found no free place."""

    corners: Array
    leaders: Array  # (n, 2): the point of each box nearest to what it names


def place_labels(
    points: Array, sizes: Array, bounds: tuple[float, float, float, float], obstacles: Array, whiskers: Array
) -> Placement:
    """Places for `sizes` (n, 2) boxes that name `points` (n, 2), all in the same units (points of 1/72 inch).

    `bounds` is (left, bottom, right, top); `obstacles` (m, 4) are such boxes to keep free, `whiskers` (k, 4)
    ones that are better kept free.
    """
    n = len(points)
    if n == 0:
        return Placement(np.empty((0, 2)), np.empty((0, 2)))
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
    return Placement(placed[:, :2] + _PAD, np.clip(points, placed[:, :2] + _PAD, placed[:, 2:] - _PAD))


def spread(wanted: Array, gap: float, low: float, high: float) -> Array:
    """The heights nearest to `wanted` that keep their order, are `gap` apart and lie within low..high.

    Least squares. Where the room is too small for all, the gap shrinks to fit.
    """
    if len(wanted) == 0:
        return wanted.copy()
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    level = isotonic_regression(wanted[order] - steps).x
    heights = np.empty_like(wanted)
    heights[order] = np.clip(level, low, high - steps[-1]) + steps
    return heights


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
    boxes: Array,
    own: int,
    points: Array,
    markers: Array,
    bounds: tuple[float, float, float, float],
    obstacles: Array,
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
    """Set to nan the labels without a fault-free place, one of each overlapping pair."""
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
