"""When to stop comparing two things that are measured side by side: an interval that may be looked at at any time.

Each comparison yields the logarithm of the ratio of two times. Both sides are made anew for it in the same way and take
turns in an order that a fair coin decides, so that whatever else happens is as likely to hit one as the other: that
logarithm lies symmetrically around the one of the true ratio, whatever came before and however the noise is distributed
or correlated. That symmetry is all that is assumed. Against every ratio that could be the true one a gambler bets,
without knowing what comes next, that comparisons will lie above it or below it; under symmetry nobody's capital is
expected to grow, and the chance that it ever reaches 1/a is at most a (Ville 1939). The ratios whose gambler stays
below that are an interval that is right at every moment at once, with the promised probability (Waudby-Smith & Ramdas
2024, "Estimating means of bounded random variables by betting", section 4; for symmetric distributions de la Peña
1999). Looking often and stopping early costs nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.stats.intervals import Interval

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
    """The interval of the centre of log-ratios, narrowed by one after the other."""

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
