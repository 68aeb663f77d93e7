"""Intervals for what a run measured. All are 95 % unless said otherwise; none assumes normal timings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

Interval = tuple[float, float]


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> Interval:
    """Distribution-free interval of the median from two order statistics (Conover 1999, section 3.2).

    With fewer than six samples no pair of order statistics reaches 95 %: the whole range is returned, which
    then covers less than it says, but never less than what was seen.
    """
    ordered = sorted(samples)
    n = len(ordered)
    if n == 0:
        return math.nan, math.nan
    # The largest rank r (from each end) whose interval still covers the median often enough.
    rank = int(stats.binom.ppf((1 - confidence) / 2, n, 0.5))
    rank = max(rank, 1)
    return ordered[rank - 1], ordered[n - rank]


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean of a few independent runs; no interval (nan) for a single one."""
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    mean = statistics.fmean(values)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return mean - half, mean + half


def wilson_interval(fraction: float, trials: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share of yes-or-no trials (Wilson 1927)."""
    z = float(stats.norm.ppf((1 + confidence) / 2))
    centre = fraction + z * z / (2 * trials)
    half = z * math.sqrt(fraction * (1 - fraction) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample below which a `share` of them lies, interpolated between neighbours (Hyndman & Fan 1996, type 7)."""
    return float(np.quantile(np.asarray(samples, dtype=float), share))


def rounds_interval(rounds: Sequence[Sequence[float]], confidence: float = 0.95) -> Interval:
    """Interval of the median over several rounds of positive samples that were taken at different times.

    Samples of one round share the state of the machine, so the spread between the rounds counts, not the number of
    samples: Student's t on the logarithms of the rounds' medians. A single round says nothing of other times, so its
    interval is that of its samples alone; of two, everything that either holds possible.
    """
    inner = [median_interval(samples, confidence) for samples in rounds]
    if len(rounds) < 3:
        return min(low for low, _ in inner), max(high for _, high in inner)
    low, high = mean_interval([math.log(statistics.median(samples)) for samples in rounds], confidence)
    return math.exp(low), math.exp(high)


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's: 1 where both put the pairs in the same order, -1 in opposite ones; nan where one has no order."""
    ranks = stats.rankdata(x), stats.rankdata(y)
    if len(set(ranks[0])) < 2 or len(set(ranks[1])) < 2:
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


@dataclass(frozen=True)
class Difference:
    """Of two measured values: how large, in which interval, and how often chance alone makes one as large."""

    value: float
    interval: Interval
    p_value: float


def mean_difference(
    first: Sequence[float], second: Sequence[float], resolution: float, confidence: float = 0.95
) -> Difference:
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
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(variance)
    p_value = 2 * float(stats.t.sf(abs(value) / math.sqrt(variance), freedom))
    return Difference(value, (value - half, value + half), p_value)


def share_difference(
    first: float, first_trials: int, second: float, second_trials: int, confidence: float = 0.95
) -> Difference:
    """First share minus second, of independent yes-or-no trials.

    Interval: Newcombe 1998, method 10, from Wilson's of each share. Test: the normal one with the pooled share.
    """
    value = first - second
    low, high = wilson_interval(first, first_trials, confidence)
    second_low, second_high = wilson_interval(second, second_trials, confidence)
    down, up = math.hypot(first - low, second_high - second), math.hypot(high - first, second - second_low)
    pooled = (first * first_trials + second * second_trials) / (first_trials + second_trials)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / first_trials + 1 / second_trials))
    p_value = 2 * float(stats.norm.sf(abs(value) / deviation)) if deviation else 1.0
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
    half = float(optimize.brentq(lambda x: float(special.polygamma(1, x)) - excess, 1e-6, 1e12))
    common = float(np.exp(logs.mean() + special.digamma(half) - np.log(half)))
    return [((2 * half * common + d * v) / (2 * half + d), 2 * half + d) for v, d in own]
