"""All comparisons of one `ab`: the steps of every network, one after the other, by workers that live throughout."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.regression.ab.paired import Comparison, Rules, compare_paired
from bench.regression.ab.process import Failed, WorkerProcess
from bench.regression.verdict import Verdict, percent, percent_range, verdict

# A sample holds as many steps as fill this. On a CPU it is best over before the scheduler takes the processor away: on
# a busy machine, one of 5 ms scatters five times as much as one of 1 ms. A GPU is asked for a queue of steps at once.
SAMPLE_S = {"cpu": 0.001, "cuda": 0.01}


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
    comparison: Comparison | None = None
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
            return {**row, "verdict": "failed", "time of B": self.failure}
        return {
            **row,
            "verdict": str(self.verdict),
            "time of B": percent(self.comparison.centre),
            "interval": percent_range(self.comparison.interval),
            "A images/s": f"{self._rate('a'):,.0f}",
            "B images/s": f"{self._rate('b'):,.0f}",
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
            "a_images_per_s": self._rate("a"),
            "b_images_per_s": self._rate("b"),
            "batch_sizes": list(self.batch_sizes),
            "seconds": self.comparison.seconds,
            "builds": self.comparison.builds,
            "pairs": [[pair.a, pair.b, pair.a_first, pair.build] for pair in self.comparison.pairs],
        }

    def _rate(self, side: str) -> float:
        assert self.comparison is not None
        return 1 / statistics.median(getattr(pair, side) for pair in self.comparison.pairs)


@dataclass
class _Workers:
    """The workers of a side, which take turns from build to build: one side's `Step`.

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
    sample_s = SAMPLE_S["cpu" if a[0].facts["device"] == "cpu" else "cuda"]
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
