"""Two steps timed in pairs until it is clear which is faster, that neither is, or that time is up.

`run_all` does so for all comparisons of one `ab`, by worker processes of each side that live throughout.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bench.regression import Verdict, Zone, percent, percent_range, thresholds, verdict, zone
from bench.regression.ab.sides import Failed, WorkerProcess
from bench.stats import Interval, LogRatioInterval, least_values

# Where a build's memory happens to lie, and what else its processor does, can make a build a few percent faster or
# slower for as long as it lives, which pairs of the same two builds cannot tell from a difference of the code. So both
# sides build anew all the time, on a processor drawn at random, and all pairs of two builds count as one value. A build
# is used for as long as building took: longer and shorter lives both need more time for an answer.
SHORTEST_BUILD_LIFE_S = 0.2
LEAST_PAIRS = 5  # of two builds


class SideStep(Protocol):
    """One side's step."""

    def build(self, where: float) -> tuple[float, float]:
        """Make the step anew; returns the seconds that it took, and those that a step takes.

        `where`, from 0 to 1, says which of the processors to use where both sides compute with one thread.
        """

    def seconds_per_image(self, steps: int) -> float:
        """Time one sample of so many steps."""


@dataclass(frozen=True)
class Rules:
    """When a comparison ends."""

    margin: float  # smaller differences count as none: 0.02 means 2 %
    fail_on: float | None  # whether B is slower by more than this must be settled too
    time_limit_s: float  # from the end of the first build, but never before any verdict is possible
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
class PairedComparison:
    """How it ended. Logarithms of time B / time A: above zero, B is slower."""

    centre: float
    interval: Interval
    pairs: tuple[Pair, ...]
    seconds: float
    zone: Zone  # of time B / time A

    @property
    def builds(self) -> int:
        return self.pairs[-1].build + 1

    def slower_than(self, share: float) -> bool | None:
        """Whether B is slower by more than `share`; None if that is not settled."""
        low, high = self.interval
        return True if low > math.log1p(share) else False if high < math.log1p(share) else None


def compare_paired(
    a: SideStep,
    b: SideStep,
    rules: Rules,
    rng: random.Random,
    sample_s: float,
    say: Callable[[str], object] = lambda line: None,
    clock: Callable[[], float] = time.perf_counter,
) -> PairedComparison:
    """Measure pair after pair, in random order, build after build, until all is settled or the time is up.

    Samples of both sides hold the same number of steps, about as many as fill `sample_s` on the slower side: a sample
    that is longer only because it holds more steps is interrupted more often. `say` is told where the time limit is
    too short for any verdict; the comparison goes on until one is possible.
    """
    builds = LogRatioInterval(rules.error)
    pairs: list[Pair] = []
    build = steps = 0
    start, told = math.inf, False
    while True:
        where = rng.random()
        built, step_seconds = zip(a.build(where), b.build(where), strict=True)
        steps = steps or max(1, math.ceil(sample_s / max(step_seconds)))
        start = min(start, clock())
        deadline = start + rules.time_limit_s
        end = clock() + max(SHORTEST_BUILD_LIFE_S, sum(built))
        own: list[Pair] = []
        while not own or clock() < min(end, deadline) or (len(own) < LEAST_PAIRS and clock() < max(end, deadline)):
            own.append(_pair(a, b, steps, rng, build))
        builds.add(statistics.median(math.log(pair.b / pair.a) for pair in own))
        pairs += own
        build += 1
        interval, missing = builds.interval(), least_values(rules.error) - build
        if rules.settled(interval) or (clock() >= deadline and missing <= 0):
            return PairedComparison(
                builds.centre(), interval, tuple(pairs), clock() - start, zone(interval, rules.margin)
            )
        if clock() >= deadline and not told:
            told = True
            say(f"the time limit of {rules.time_limit_s:g} s ended at build {build}; any verdict needs {missing} more")


def _pair(a: SideStep, b: SideStep, steps: int, rng: random.Random, build: int) -> Pair:
    if rng.random() < 0.5:
        seconds_a = a.seconds_per_image(steps)
        return Pair(seconds_a, b.seconds_per_image(steps), True, build)
    seconds_b = b.seconds_per_image(steps)
    return Pair(a.seconds_per_image(steps), seconds_b, False, build)


@dataclass(frozen=True)
class Pairing:
    """One comparison: the networks of both sides, and which step of them."""

    a: str
    b: str
    step: str  # "inference" or "train"

    @property
    def label(self) -> str:
        return self.a if self.a == self.b else f"{self.b} against {self.a}"

    def __str__(self) -> str:
        return f"{self.label} {self.step}"


@dataclass(frozen=True)
class Result:
    """A comparison with its conditions, or why there is none."""

    pairing: Pairing
    comparison: PairedComparison | None = None
    batch_sizes: tuple[int, ...] = ()
    failure: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """Of B against A."""
        return verdict(self.comparison.zone, "lower", "s") if self.comparison else None

    def row(self) -> dict[str, str]:
        """As a line of the table."""
        row = {"network": self.pairing.label, "step": self.pairing.step}
        if self.comparison is None:
            return {**row, "verdict": "failed", "reason": self.failure}
        return {
            **row,
            "verdict": str(self.verdict),
            "time of B": percent(self.comparison.centre),
            "interval": percent_range(self.comparison.interval),
            **{f"{side} images/s": f"{rate:,.0f}" for side, rate in zip("AB", self.rates, strict=True)},
            "batch": "/".join(str(size) for size in dict.fromkeys(self.batch_sizes)),
            "builds": str(self.comparison.builds),
            "pairs": str(len(self.comparison.pairs)),
            "seconds": f"{self.comparison.seconds:.0f}",
        }

    def as_json(self) -> dict[str, Any]:
        """Everything, raw pairs included."""
        facts: dict[str, Any] = {"a": self.pairing.a, "b": self.pairing.b, "step": self.pairing.step}
        if self.comparison is None:
            return {**facts, "verdict": None, "failure": self.failure}
        low, high = (bound if math.isfinite(bound) else None for bound in self.comparison.interval)
        return {
            **facts,
            "verdict": self.verdict,
            "log_ratio": self.comparison.centre,
            "log_ratio_low": low,
            "log_ratio_high": high,
            **{f"{side}_images_per_s": rate for side, rate in zip("ab", self.rates, strict=True)},
            "batch_sizes": list(self.batch_sizes),
            "seconds": self.comparison.seconds,
            "builds": self.comparison.builds,
            "pairs": [[pair.a, pair.b, pair.a_first, pair.build] for pair in self.comparison.pairs],
        }

    @property
    def rates(self) -> tuple[float, float]:
        """Images per second: A's median, and what B has by the ratio of pairs, so that they never contradict it."""
        assert self.comparison is not None
        rate = 1 / statistics.median(pair.a for pair in self.comparison.pairs)
        return rate, rate / math.exp(self.comparison.centre)


@dataclass
class _Workers:
    """The workers of a side, which take turns from build to build: one side's `SideStep`.

    What sets one process apart from another of the same code, such as where its memory lies, would be taken for a
    difference of the sides if each had only one.
    """

    workers: Sequence[WorkerProcess]
    network: str
    step: str
    builds_each: int  # after so many builds the next worker takes over
    bind: bool  # whether they move to the processor that both sides draw for a build
    batch_size: int = 0
    _builds: int = 0

    def warm_up(self) -> None:
        """Build once in each worker, which imports and tunes."""
        for worker in self.workers:
            worker.build(self.network, self.step)

    def build(self, where: float) -> tuple[float, float]:
        self._worker = self.workers[self._builds // self.builds_each % len(self.workers)]
        self._builds += 1
        built = self._worker.build(self.network, self.step, where if self.bind else None)
        self.batch_size = built.batch_size
        return built.seconds, built.step_seconds

    def seconds_per_image(self, steps: int) -> float:
        return self._worker.sample(steps) / self.batch_size


def run_all(
    pairings: Sequence[Pairing],
    a: Sequence[WorkerProcess],
    b: Sequence[WorkerProcess],
    rules: Rules,
    seed: int,
    say: Callable[[str], object] = lambda line: None,
) -> Iterator[Result]:
    """Yield every pairing with its result; a side that fails spoils its own comparison only."""
    rng = random.Random(seed)
    bind = all(worker.facts["threads"] == 1 for worker in (*a, *b))
    sample_s = a[0].sample_s  # as many steps as fill this
    for pairing in pairings:
        # Every worker of A meets every worker of B.
        side_a = _Workers(a, pairing.a, pairing.step, 1, bind)
        side_b = _Workers(b, pairing.b, pairing.step, len(a), bind)
        try:
            side_a.warm_up()
            side_b.warm_up()
            comparison = compare_paired(side_a, side_b, rules, rng, sample_s, lambda line: say(f"{pairing}: {line}"))  # noqa: B023
        except Failed as failure:
            yield Result(pairing, failure=str(failure))
            continue
        yield Result(pairing, comparison, (side_a.batch_size, side_b.batch_size))
