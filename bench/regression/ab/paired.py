"""Two steps in pairs until it is clear which is faster, that neither is, or that time is up."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench.regression.verdict import Zone, thresholds, zone
from bench.stats.intervals import Interval
from bench.stats.sequential import LogRatioInterval

# Where a build's memory happens to lie, and what else the processor does meanwhile, can make a build a few percent
# faster or slower for as long as it lives, which pairs of the same two builds cannot tell from a difference of the
# code. So it is builds that count: both sides build anew all the time, and the pairs of two builds say one thing.
# As long as building takes is how long a build lives: longer and shorter lives both need more time for an answer.
SHORTEST_BUILD_LIFE_S = 0.2
LEAST_PAIRS = 5  # of two builds


class Contender(Protocol):
    """One side's step."""

    def build(self) -> tuple[float, float]:
        """Make the step anew; the seconds that it took, and those that a step takes."""

    def seconds_per_image(self, steps: int) -> float:
        """Of one sample of so many steps."""


@dataclass(frozen=True)
class Rules:
    """When a duel ends."""

    margin: float  # differences below are none: 0.02 means 2 %
    fail_on: float | None  # whether B is slower by more than this must be settled too
    time_limit_s: float  # from the end of the first build
    error: float  # the chance that the interval is ever wrong

    def settled(self, log_ratio: Interval) -> bool:
        """Whether every question has its answer: no threshold is left inside the interval."""
        low, high = log_ratio
        return not any(low <= threshold <= high for threshold in thresholds(self.margin, self.fail_on))


@dataclass(frozen=True)
class Pair:
    """Seconds per image of one sample of each side, in which order they were taken, and of which build."""

    a: float
    b: float
    a_first: bool
    build: int


@dataclass(frozen=True)
class Duel:
    """How it ended. Logarithms of time B / time A: above zero, B is slower."""

    centre: float
    interval: Interval
    pairs: tuple[Pair, ...]
    seconds: float
    zone: Zone  # of time B / time A

    @property
    def builds(self) -> int:
        return self.pairs[-1].build + 1

    def slower_than(self, share: float) -> bool:
        """Whether B is slower by more than `share` beyond doubt."""
        return self.interval[0] > math.log1p(share)


def fight(
    a: Contender,
    b: Contender,
    rules: Rules,
    coin: random.Random,
    sample_s: float,
    before_builds: Callable[[], object],
    clock: Callable[[], float] = time.perf_counter,
) -> Duel:
    """Measure pair after pair, in an order that `coin` decides, build after build, until all is settled or the time is
    up.

    Samples of both sides hold the same number of steps, about as many as fill `sample_s` on the slower side: a sample
    that is longer only because it holds more steps is interrupted more often.
    """
    builds = LogRatioInterval(rules.error)
    pairs: list[Pair] = []
    build = steps = 0
    start = math.inf
    while True:
        before_builds()
        built, step_seconds = zip(a.build(), b.build(), strict=True)
        steps = steps or max(1, math.ceil(sample_s / max(step_seconds)))
        start = min(start, clock())
        deadline = start + rules.time_limit_s
        end = clock() + max(SHORTEST_BUILD_LIFE_S, sum(built))
        own: list[Pair] = []
        while not own or (clock() < deadline and (clock() < end or len(own) < LEAST_PAIRS)):
            own.append(_pair(a, b, steps, coin, build))
        builds.add(statistics.median(math.log(pair.b / pair.a) for pair in own))
        pairs += own
        build += 1
        interval = builds.interval()
        if clock() >= deadline or rules.settled(interval):
            return Duel(builds.centre(), interval, tuple(pairs), clock() - start, zone(interval, rules.margin))


def _pair(a: Contender, b: Contender, steps: int, coin: random.Random, build: int) -> Pair:
    if coin.random() < 0.5:
        seconds_a = a.seconds_per_image(steps)
        return Pair(seconds_a, b.seconds_per_image(steps), True, build)
    seconds_b = b.seconds_per_image(steps)
    return Pair(a.seconds_per_image(steps), seconds_b, False, build)
