"""Intervals for what a run measured, places where a series has changed, and when to stop comparing two things.

Intervals are of 95 % unless said otherwise; none assumes normal timings.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import special  # scipy.stats takes a second to import

Interval = tuple[float, float]
CONFIDENCE = 0.95


def median_interval(samples: Sequence[float]) -> Interval:
    """Distribution-free interval of the median from two order statistics (Conover 1999, section 3.2).

    With fewer than six samples no pair of order statistics reaches 95 %: the whole range is returned, which
    then covers less than it says, but never less than what was seen.
    """
    ordered = sorted(samples)
    n = len(ordered)
    if n == 0:
        return math.nan, math.nan
    # The largest rank r (from each end) whose interval still covers the median often enough.
    rank = max(1, int(np.searchsorted(special.bdtr(np.arange(n + 1), n, 0.5), (1 - CONFIDENCE) / 2)))
    return ordered[rank - 1], ordered[n - rank]


def mean_interval(values: Sequence[float]) -> Interval:
    """Student's t interval of the mean of a few independent runs; no interval (nan) for a single one."""
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    mean = statistics.fmean(values)
    half = float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * statistics.stdev(values) / math.sqrt(n)
    return mean - half, mean + half


def wilson_interval(fraction: float, trials: int) -> Interval:
    """Wilson's score interval of a share of yes-or-no trials (Wilson 1927)."""
    z = float(special.ndtri((1 + CONFIDENCE) / 2))
    centre = fraction + z * z / (2 * trials)
    half = z * math.sqrt(fraction * (1 - fraction) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample below which a `share` of them lies, interpolated between neighbours (Hyndman & Fan 1996, type 7)."""
    return float(np.quantile(np.asarray(samples, dtype=float), share))


def rounds_interval(rounds: Sequence[Sequence[float]]) -> Interval:
    """Interval of the median over several rounds of positive samples that were taken at different times.

    Samples of one round share the state of the machine, so the spread between the rounds counts, not the number of
    samples: Student's t on the logarithms of the rounds' medians. A single round says nothing of other times, so its
    interval is that of its samples alone; of two, everything that either holds possible.
    """
    inner = [median_interval(samples) for samples in rounds]
    if len(rounds) < 3:
        return min(low for low, _ in inner), max(high for _, high in inner)
    low, high = mean_interval([math.log(statistics.median(samples)) for samples in rounds])
    return math.exp(low), math.exp(high)


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's: 1 where both put the pairs in the same order, -1 in opposite ones; nan where one has no order."""
    ranks = _ranks(x), _ranks(y)
    if len(set(ranks[0])) < 2 or len(set(ranks[1])) < 2:
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """From 1; equal values share the mean of theirs."""
    _, which, counts = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks


@dataclass(frozen=True)
class Difference:
    """Of two measured values: how large, in which interval, and how often chance alone makes one as large."""

    value: float
    interval: Interval
    p_value: float


def mean_difference(first: Sequence[float], second: Sequence[float], resolution: float) -> Difference:
    """First mean minus second, of at least two independent runs each, with spreads of their own (Welch 1947).

    Values are whole multiples of `resolution`, above zero: two equal ones may still differ by less, so no spread is
    taken for smaller than rounding alone makes it.
    """
    value = statistics.fmean(first) - statistics.fmean(second)
    rounding = resolution**2 / 12
    parts = [max(statistics.variance(values), rounding) / len(values) for values in (first, second)]
    variance = sum(parts)
    freedom = variance**2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)
    )
    half = float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    p_value = 2 * float(special.stdtr(freedom, -abs(value) / math.sqrt(variance)))
    return Difference(value, (value - half, value + half), p_value)


def share_difference(first: float, first_trials: int, second: float, second_trials: int) -> Difference:
    """First share minus second, of independent yes-or-no trials.

    Interval: Newcombe 1998, method 10, from Wilson's of each share. Test: the normal one with the pooled share.
    """
    value = first - second
    low, high = wilson_interval(first, first_trials)
    second_low, second_high = wilson_interval(second, second_trials)
    down, up = math.hypot(first - low, second_high - second), math.hypot(high - first, second - second_low)
    pooled = (first * first_trials + second * second_trials) / (first_trials + second_trials)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / first_trials + 1 / second_trials))
    p_value = 2 * float(special.ndtr(-abs(value) / deviation)) if deviation else 1.0
    return Difference(value, (value - down, value + up), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): those below 5 % hold a false one in 5 % of cases at most."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def shared_variances(variances: Sequence[float], degrees: Sequence[int]) -> list[tuple[float, float]]:
    """Variances of similar things, each from a few values, made surer by the others: with their degrees of freedom.

    How variances scatter says how alike they are; each is drawn towards the common one by as much, and gains degrees of
    freedom for it (Smyth 2004, "Linear models and empirical Bayes methods for assessing differential expression",
    section 6.2). Fewer than three of them have nothing to share.
    """
    known = [(v, d) for v, d in zip(variances, degrees, strict=True) if v > 0 and d > 0]
    own = [(float(v), float(d)) for v, d in zip(variances, degrees, strict=True)]
    if len(known) < 3:
        return own
    halves = np.array([d / 2 for _, d in known])
    logs = np.log([v for v, _ in known]) - special.digamma(halves) + np.log(halves)
    # What scatter of the logarithms the few values behind each do not explain.
    excess = float(np.var(logs, ddof=1) - special.polygamma(1, halves).mean())
    if excess <= 0:  # none: all are the same variance
        common = float(np.exp(logs.mean()))
        return [(common, math.inf)] * len(own)
    from scipy.optimize import brentq

    half = float(brentq(lambda x: float(special.polygamma(1, x)) - excess, 1e-6, 1e12))
    common = float(np.exp(logs.mean() + special.digamma(half) - np.log(half)))
    return [((2 * half * common + d * v) / (2 * half + d), 2 * half + d) for v, d in own]


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

    Only the order of the numbers counts, so that one wild run is no change and no distribution has to be assumed: the
    sum of ranks before a place is held against what random orders give (Pettitt 1979), the place where it stands out
    most is a change if few random orders have one that stands out more, and both halves are searched again (binary
    segmentation). All series are judged together: those whose strongest change is surest come first, until so many
    would be expected to be false (Benjamini & Hochberg 1995).
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
    scores = _scores(_ranks(values)[None, :])[0]
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


# Shares of the capital that are bet at once, each by a gambler of his own: large ones find large differences after a
# few comparisons, small ones find small differences after many. The capital is their mean.
STAKES = np.array([0.1, 0.3, 0.6, 0.95])

# What lies further from the middle than this many typical distances (median absolute deviations) counts as if it were
# just as far: 95 % as efficient as the mean under normal noise, deaf to hiccups (Huber 1964: 1.345 deviations).
FAR = 1.345 * 1.4826

# Typical distance before any has been seen, and the least that is believed.
FIRST_DISTANCE, LEAST_DISTANCE = 0.01, 1e-4


def least_values(error: float) -> int:
    """How many values an interval needs before either of its ends can be finite: so many bets won in full."""
    count = 1
    while math.log(np.mean((1 + STAKES) ** count)) < math.log(2 / error):
        count += 1
    return count


class LogRatioInterval:
    """The interval of the centre of log-ratios, narrowed by one after the other; it may be looked at at any time.

    Each comparison yields the logarithm of the ratio of two times. Both sides are made anew for it in the same way and
    take turns in an order that a fair coin decides, so that whatever else happens is as likely to hit one as the other:
    that logarithm lies symmetrically around the one of the true ratio, whatever came before and however the noise is
    distributed or correlated. That symmetry is all that is assumed. Against every ratio that could be the true one a
    gambler bets, without knowing what comes next, that comparisons will lie above it or below it; under symmetry
    nobody's capital is expected to grow, and the chance that it ever reaches 1/a is at most a (Ville 1939). The ratios
    whose gambler stays below that are an interval that is right at every moment at once, with the promised probability
    (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", section 4; for symmetric
    distributions de la Peña 1999). Looking often and stopping early costs nothing.
    """

    def __init__(self, error: float) -> None:
        """`error`: the chance that the interval is ever wrong, both of its ends together."""
        if not 0 < error < 1:
            raise ValueError(f"error {error}: must lie between 0 and 1")
        self._needed = math.log(2 / error)  # half of the error for each end
        self._values: list[float] = []
        self._reach: list[float] = []  # of each value: how far counts as far, decided before it was seen
        self._distance = FIRST_DISTANCE  # typical of the values so far
        self._next_look = 5  # number of values at which that is found out anew
        self._low, self._high = -math.inf, math.inf

    def __len__(self) -> int:
        return len(self._values)

    def add(self, log_ratio: float) -> None:
        """Take in one more.

        Raises:
            ValueError: it is infinite or not a number.
        """
        if not math.isfinite(log_ratio):
            raise ValueError(f"log-ratio {log_ratio}: must be finite")
        self._reach.append(FAR * self._distance)
        self._values.append(log_ratio)
        if len(self._values) >= self._next_look:
            middle = statistics.median(self._values)
            distance = statistics.median(abs(value - middle) for value in self._values)
            self._distance = max(distance, LEAST_DISTANCE)
            self._next_look = len(self._values) + 1 + len(self._values) // 10

    def interval(self) -> Interval:
        """Logarithms; infinite where nothing is known yet. Never wider than it was before."""
        if self._values:
            self._low = max(self._low, self._bound(+1))
            self._high = min(self._high, self._bound(-1))
        return self._low, self._high

    def centre(self) -> float:
        """Where values lie above as much as below, far ones counted as above: Huber's estimate of location."""
        values, reach = self._arrays()

        def balance(centre: float) -> float:
            return float(np.clip((values - centre) / reach, -1, 1).sum())

        return _crossing(balance, float(values.min()), float(values.max()))

    def _arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array(self._values), np.array(self._reach)

    def _bound(self, side: int) -> float:
        """The largest centre (side 1) that values above it have refuted, or the smallest (side -1) from below."""
        values, reach = self._arrays()

        def excess(centre: float) -> float:
            """Log-capital of who bets that values lie on this side of `centre`, above what refutes it."""
            gains = side * np.clip((values - centre) / reach, -1, 1)
            each = np.log1p(STAKES[:, None] * gains).sum(axis=1)
            return side * (float(np.logaddexp.reduce(each)) - math.log(len(STAKES)) - self._needed)

        # Beyond all values by their reach, every bet is won or lost in full.
        low, high = float((values - reach).min()), float((values + reach).max())
        if side * excess(low if side > 0 else high) < 0:
            return -math.inf if side > 0 else math.inf  # too few to refute anything
        return _crossing(excess, low, high)


def _crossing(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function becomes zero between two arguments, by bisection."""
    for _ in range(30):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
