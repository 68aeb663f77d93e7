"""All duels of one `ab`: every network's steps, one after the other, by workers that live throughout."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.regression.ab.paired import Duel, Rules, fight
from bench.regression.ab.process import Failed, Job, WorkerProcess
from bench.regression.ab.processors import SameProcessor
from bench.regression.verdict import Verdict, percent, verdict

# A sample holds as many steps as fill this. On a CPU it is best over before the scheduler takes the processor away: on
# a busy machine, one of 5 ms scatters five times as much as one of 1 ms. A GPU is asked for a queue of steps at once.
SAMPLE_S = {"cpu": 0.001, "cuda": 0.01}


@dataclass(frozen=True)
class Match:
    """What is compared in one duel."""

    a: Job
    b: Job

    @property
    def label(self) -> str:
        return self.a.network if self.a.network == self.b.network else f"{self.b.network} against {self.a.network}"


@dataclass(frozen=True)
class Outcome:
    """A duel with its conditions, or why there was none."""

    match: Match
    duel: Duel | None = None
    batch_sizes: tuple[int, int] | None = None
    failure: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """Of B against A."""
        return verdict(self.duel.zone, "lower", "s") if self.duel else None

    def slower_than(self, share: float) -> bool:
        """Whether B is beyond doubt slower than A by more than `share`, or could not be measured."""
        return self.duel is None or self.duel.slower_than(share)

    def row(self) -> dict[str, str]:
        """As a line of the table."""
        row = {"network": self.match.label, "step": self.match.a.what}
        if self.duel is None or self.batch_sizes is None:
            return {**row, "verdict": "failed", "time of B": self.failure}
        low, high = self.duel.interval
        return {
            **row,
            "verdict": str(self.verdict),
            "time of B": percent(self.duel.centre),
            "interval": f"{percent(low)} to {percent(high)}",
            "A images/s": f"{self._rate('a'):,.0f}",
            "B images/s": f"{self._rate('b'):,.0f}",
            "batch": "/".join(str(size) for size in dict.fromkeys(self.batch_sizes)),
            "builds": str(self.duel.builds),
            "pairs": str(len(self.duel.pairs)),
            "seconds": f"{self.duel.seconds:.0f}",
        }

    def as_json(self) -> dict[str, Any]:
        """Everything, raw pairs included."""
        facts: dict[str, Any] = {"a": self.match.a.network, "b": self.match.b.network, "step": self.match.a.what}
        if self.duel is None or self.batch_sizes is None:
            return {**facts, "verdict": None, "failure": self.failure}
        low, high = self.duel.interval
        return {
            **facts,
            "verdict": self.verdict,
            "log_ratio": self.duel.centre,
            "log_ratio_low": _finite(low),
            "log_ratio_high": _finite(high),
            "a_images_per_s": self._rate("a"),
            "b_images_per_s": self._rate("b"),
            "batch_sizes": list(self.batch_sizes),
            "seconds": self.duel.seconds,
            "builds": self.duel.builds,
            "pairs": [[pair.a, pair.b, pair.a_first, pair.build] for pair in self.duel.pairs],
        }

    def _rate(self, side: str) -> float:
        assert self.duel is not None
        return 1 / statistics.median(getattr(pair, side) for pair in self.duel.pairs)


class _Crew:
    """The workers of a side, which take turns from build to build: one side of a duel.

    What sets one process apart from another of the same code, such as where its memory lies, would be taken for a
    difference of the sides if each had only one.
    """

    def __init__(self, workers: Sequence[WorkerProcess], job: Job, builds_each: int) -> None:
        """`builds_each`: after so many builds the next worker takes over."""
        self._workers = workers
        self._worker = workers[0]
        self._job = job
        self._builds_each = builds_each
        self._builds = 0
        self.batch_size = 0

    def warm_up(self) -> None:
        """The first build of each worker imports and tunes."""
        for worker in self._workers:
            worker.build(self._job)

    def build(self) -> tuple[float, float]:
        self._worker = self._workers[self._builds // self._builds_each % len(self._workers)]
        self._builds += 1
        built = self._worker.build(self._job)
        self.batch_size = built.batch_size
        return built.seconds, built.step_seconds

    def seconds_per_image(self, steps: int) -> float:
        return self._worker.sample(steps) / self.batch_size


def play(
    matches: Sequence[Match], a: Sequence[WorkerProcess], b: Sequence[WorkerProcess], rules: Rules, seed: int
) -> Iterator[Outcome]:
    """Every match with its outcome; a side that fails spoils its own match only."""
    coin = random.Random(seed)
    workers = [*a, *b]
    processor = SameProcessor([w.process_id for w in workers], [w.facts["threads"] for w in workers], seed)
    sample_s = SAMPLE_S["cpu" if a[0].facts["device"] == "cpu" else "cuda"]
    for match in matches:
        # Every worker of A meets every worker of B.
        side_a, side_b = _Crew(a, match.a, 1), _Crew(b, match.b, len(a))
        try:
            side_a.warm_up()
            side_b.warm_up()
            duel = fight(side_a, side_b, rules, coin, sample_s, processor.move)
        except Failed as failure:
            yield Outcome(match, failure=str(failure))
            continue
        yield Outcome(match, duel, (side_a.batch_size, side_b.batch_size))


def _finite(bound: float) -> float | None:
    return bound if abs(bound) != float("inf") else None
