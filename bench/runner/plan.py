"""What a run has to do, in which order, and what of it is left."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import itemgetter

from bench.config import Config
from bench.metrics import PROBES, metrics_of
from bench.models import REGISTRY, ModelSpec
from bench.records.record import Record, RecordKey


@dataclass(frozen=True)
class Task:
    """Probes of one network that are measured in one go: the static ones, those of a round, every other one alone."""

    spec: ModelSpec
    probes: tuple[str, ...]
    seed: int
    config: Config
    round: int = 0

    @property
    def static(self) -> bool:
        return PROBES[self.probes[0]].when == "static"

    @property
    def group(self) -> str:
        """What may share a process: the counts of the suite's own networks. Every other task has a fresh one, so that a
        measurement finds the device as new, and nobody's network meets what another has left behind."""
        own = self.static and self.spec.name in REGISTRY
        return "counts of networks of the suite" if own else f"{self.label}, round {self.round}"

    @property
    def label(self) -> str:
        what = "counts" if self.static and len(self.probes) > 1 else " and ".join(self.probes)
        seed = f" (seed {self.seed})" if self.seed else ""
        budget = f" under {self.config.budget}" if self._is_under_another_budget else ""
        return f"{self.spec.name} {what}{seed}{budget}" + (f", round {self.round + 1}" if self.round else "")

    @property
    def curve_kind(self) -> str:
        """Ending of the file of its curve: "seed0", under another budget than the first "seed0-60s", or the probe."""
        if PROBES[self.probes[0]].when != "seeds":
            return self.probes[0]
        return f"seed{self.seed}-{self.config.budget}" if self._is_under_another_budget else f"seed{self.seed}"

    def keys(self, probe: str) -> Iterator[RecordKey]:
        """Of the rows that one of its probes owes."""
        budget = str(self.config.budget) if PROBES[probe].trains else None
        return ((self.spec.name, probe, metric, self.seed, self.round, budget) for metric in metrics_of(probe))

    @property
    def _is_under_another_budget(self) -> bool:
        return self.config.budget in self.config.other_budgets


def plan(specs: Sequence[ModelSpec], config: Config) -> list[Task]:
    """Every task of a run, in its order.

    First the static probes of all networks. Then what is measured once, and training last, one seed of all networks
    after the other, under one budget after the other: an interrupted run has something of everything. Timings come in
    rounds over all networks, each in another order, so that a machine that grows hot or busy is unfair to none. The
    rounds are spread over all of the rest: a shared machine is slower for a minute at a time, and rounds within that
    minute would agree with each other and be wrong.
    """
    static, rounded, once, seeded = (
        tuple(probe for probe in config.probes if PROBES[probe].when == when)
        for when in ("static", "rounds", "once", "seeds")
    )
    tasks = [Task(spec, static, 0, config) for spec in specs if static]
    specs = [spec for spec in specs if spec.name not in config.counted]
    rounds = [
        [Task(spec, rounded, 0, config, number) for spec in random.Random(number).sample(specs, len(specs))]
        for number in range(config.rounds if rounded else 0)
    ]
    others = [Task(spec, (probe,), 0, config) for spec in specs for probe in once]
    others += [
        Task(spec, (probe,), seed, replace(config, budget=budget))
        for seed in range(config.seeds)
        for budget in (config.budget, *config.other_budgets)
        for spec in specs
        for probe in seeded
    ]
    return tasks + _spread(rounds, others)


def _spread(rounds: Sequence[Sequence[Task]], others: Sequence[Task]) -> list[Task]:
    """The first round before everything else, the last one after it, those between about equally far apart in time."""
    starts = list(accumulate(map(first_guess_s, others), initial=0.0))
    distance = starts[-1] / max(len(rounds) - 1, 1)
    timed = [(number * distance, tasks) for number, tasks in enumerate(rounds)]
    timed += [(start, [task]) for start, task in zip(starts, others, strict=False)]  # the last one is the end
    return [task for _, tasks in sorted(timed, key=itemgetter(0)) for task in tasks]


def first_guess_s(task: Task) -> float:
    """Seconds that a task may take, as long as none of its kind has been seen to end."""
    if task.static:
        return 0.0
    budget = task.config.budget
    if PROBES[task.probes[0]].trains:
        return 1.3 * (budget.amount if budget.kind == "s" else 60.0)
    return 4 * task.config.measure_seconds


def remaining(tasks: Sequence[Task], records: Sequence[Record], retry_failed: bool) -> list[Task]:
    """The tasks that have no complete outcome yet, without the probes that have."""
    done = {r.key for r in records if not (retry_failed and r.failed)}
    left = []
    for task in tasks:
        missing = tuple(probe for probe in task.probes if not done.issuperset(task.keys(probe)))
        if missing:
            left.append(replace(task, probes=missing))
    return left
