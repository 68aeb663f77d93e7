"""Intervals for what a run measured. All are 95 % unless said otherwise; none assumes normal timings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
from scipy import stats

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
