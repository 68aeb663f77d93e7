"""Where a series of numbers moved to another level and stayed there, with the chance of a false alarm held down.

Only the order of the numbers counts, so that one wild run is no change and no distribution has to be assumed: the sum
of ranks before a place is held against what random orders give (Pettitt 1979), the place where it stands out most is a
change if few random orders have one that stands out more, and both halves are searched again (binary segmentation).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

FALSE_DISCOVERIES = 0.05  # expected share of false ones among the series that are said to have changed
FURTHER = 0.01  # chance of one more false change in a series that has one
ORDERS = 20_000  # random orders that stand for all


@dataclass(frozen=True)
class ChangePoint:
    """The series is at another level from `index` on; the ratio is of medians, after / before."""

    index: int
    ratio: float
    p_value: float


def change_points(series: Sequence[Sequence[float]], margin: float) -> list[list[ChangePoint]]:
    """The changes of each series of positive numbers, in order; smaller ones than `margin` (0.02: 2 %) are none.

    All series are judged together: those whose strongest change is surest come first, until so many would be expected
    to be false (Benjamini & Hochberg 1995).
    """
    strongest = [_strongest(values) for values in series]
    ordered = sorted(p for _, p in strongest)
    passing = [p for rank, p in enumerate(ordered, 1) if p <= FALSE_DISCOVERIES * rank / len(ordered)]
    limit = max(passing, default=0.0)
    found = []
    for values, (_, p) in zip(series, strongest, strict=True):
        cuts = _cuts(values, 0, limit, FURTHER) if p <= limit else []
        found.append(_described(values, sorted(cuts), margin))
    return found


def _cuts(values: Sequence[float], offset: int, limit: float, further: float) -> list[tuple[int, float]]:
    """Places with their p-values, by halving."""
    place, p = _strongest(values)
    if p > limit:
        return []
    return [
        (offset + place, p),
        *_cuts(values[:place], offset, further, further),
        *_cuts(values[place:], offset + place, further, further),
    ]


def _described(values: Sequence[float], cuts: Sequence[tuple[int, float]], margin: float) -> list[ChangePoint]:
    bounds = [0, *(place for place, _ in cuts), len(values)]
    levels = [statistics.median(values[a:b]) for a, b in pairwise(bounds)]
    points = [ChangePoint(place, levels[n + 1] / levels[n], p) for n, (place, p) in enumerate(cuts)]
    return [point for point in points if abs(math.log(point.ratio)) > math.log1p(margin)]


def _strongest(values: Sequence[float]) -> tuple[int, float]:
    """The place where the series changes most, and how often a random order has a stronger one."""
    if len(values) < 4:
        return 0, 1.0
    scores = _scores(rankdata(values)[None, :])[0]
    place = int(np.argmax(scores))
    null = _null(len(values))
    beyond = len(null) - int(np.searchsorted(null, scores[place] - 1e-9))
    return place + 1, (1 + beyond) / (1 + len(null))


def _scores(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the ranks before each inner place are from those of a series without change; a row per series."""
    n = ranks.shape[1]
    before = np.arange(1, n)
    sums = np.cumsum(ranks - (n + 1) / 2, axis=1)[:, :-1]
    scores: NDArray[np.float64] = np.abs(sums) / np.sqrt(before * (n - before))
    return scores


@lru_cache(maxsize=256)
def _null(n: int) -> NDArray[np.float64]:
    """The strongest scores of random orders of n numbers, sorted."""
    random = np.random.default_rng(n)
    orders = random.permuted(np.tile(np.arange(1.0, n + 1), (ORDERS, 1)), axis=1)
    return np.sort(_scores(orders).max(axis=1))
