"""What a run has to do, in which order, and what of it is left."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from operator import itemgetter

from bench.config import Config, Inputs, Task
from bench.metrics import PROBES, metrics_of
from bench.models import ModelSpec
from bench.records.record import Record, RecordKey
from bench.runner.estimate import Pace

SECOND_LOOKS = 8  # networks that are timed again at the end of a run on a dedicated device


def plan(specs: Sequence[ModelSpec], config: Config, inputs: Inputs = Inputs(), pace: Pace | None = None) -> list[Task]:
    """Every task of a run, in its order; `pace` tells how long each may take, as far as that is known.

    First the static probes of all networks, and the forecasts. Then what is measured once, and training last, one seed
    of all networks after the other, under one budget after the other: an interrupted run has something of everything.
    Timings come in rounds over all networks, each in another order, so that a machine that grows hot or busy is unfair
    to none. The rounds are spread over all of the rest: a shared machine is slower for a minute at a time, and rounds
    within that minute would agree with each other and be wrong. For the same reason each round measures the peak of the
    device again.

    On a dedicated device a network is measured in one go, and its seeds are trained in one go, each in one process. At
    the end some networks are timed once more, briefly, so that a device that has grown hot shows.
    """
    static, forecasts, rounded, once, seeded = (
        tuple(probe for probe in config.probes if PROBES[probe].when == when)
        for when in ("static", "forecast", "rounds", "once", "seeds")
    )
    tasks = [Task(spec, config, static, inputs) for spec in specs if static]
    specs = [spec for spec in specs if spec.name not in config.counted]
    tasks += [Task(spec, config, (probe,), inputs) for spec in specs for probe in forecasts]
    trainings = [
        Task(spec, config, (probe,), inputs, seed=seed, other_budget=budget)
        for seed in range(config.seeds)
        for budget in (None, *config.other_budgets)
        for spec in specs
        for probe in seeded
    ]
    rounds = [
        [Task(spec, config, rounded, inputs, round=number) for spec in random.Random(number).sample(specs, len(specs))]
        for number in range(config.rounds if rounded else 0)
    ]
    if config.dedicated:
        in_one_go = [probe for probe in PROBES if probe in (*rounded, *once)]
        tasks += [Task(spec, config, (probe,), inputs) for spec in specs for probe in in_one_go]
        tasks += sorted(trainings, key=lambda task: specs.index(task.spec))
        if config.rounds == 1 and "throughput" in rounded:
            rounds.append(
                [Task(spec, config, ("throughput",), inputs, round=1, second_look=True) for spec in _some(specs)]
            )
    if "throughput" in rounded:  # which is compared with the peak; that is first measured before everything else
        rounds[1:] = [[replace(first, with_peak=True), *others] for first, *others in rounds[1:]]
    if config.dedicated:
        return tasks + [task for tasks in rounds[1:] for task in tasks]
    others = [Task(spec, config, (probe,), inputs) for spec in specs for probe in once] + trainings
    return tasks + _spread(rounds, others, pace or Pace(config))


def _some(specs: Sequence[ModelSpec]) -> Sequence[ModelSpec]:
    """At most `SECOND_LOOKS` of them, evenly spaced."""
    count = min(SECOND_LOOKS, len(specs))
    return [specs[n * len(specs) // count] for n in range(count)]


def _spread(rounds: Sequence[Sequence[Task]], others: Sequence[Task], pace: Pace) -> list[Task]:
    """The first round before everything else, the last one after it, those between about equally far apart in time."""
    starts = list(accumulate(pace.seconds(others), initial=0.0))
    distance = starts[-1] / max(len(rounds) - 1, 1)
    timed = [(number * distance, tasks) for number, tasks in enumerate(rounds)]
    timed += [(start, [task]) for start, task in zip(starts, others, strict=False)]  # the last one is the end
    return [task for _, tasks in sorted(timed, key=itemgetter(0)) for task in tasks]


def keys(task: Task, probe: str) -> Iterator[RecordKey]:
    """The keys of the rows that one of a task's probes gives."""
    budget = str(task.budget) if PROBES[probe].trains else None
    return ((task.spec.name, probe, metric, task.seed, task.round, budget) for metric in metrics_of(probe))


def remaining(tasks: Sequence[Task], records: Sequence[Record], retry_failed: bool) -> list[Task]:
    """The tasks that have no complete outcome yet, without the probes that have."""
    done = {r.key for r in records if not (retry_failed and r.failed) and "left_out" not in r.flags}
    left = []
    for task in tasks:
        missing = tuple(probe for probe in task.probes if not done.issuperset(keys(task, probe)))
        if missing:
            left.append(replace(task, probes=missing))
    return left
