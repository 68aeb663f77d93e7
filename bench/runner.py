"""Plan a run, leave out what is already measured, execute the rest, and write down every outcome.

`execute` holds the only broad `except` of a run: a network that fails in any way becomes a row with the reason.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bench.config import Config, Execution
from bench.engines.local import Crash, LocalEngine
from bench.metrics import METRICS, metrics_of
from bench.out_of_memory import is_out_of_memory
from bench.probes import PROBES
from bench.probes.reading import Reading, Unsupported
from bench.record import Record, RecordKey, Run, Status
from models.spec import ModelSpec

STATIC = ("params", "macs", "macs_fvcore", "activations", "saved_activation_bytes")  # need no device
ROUNDED = ("throughput", "latency")  # measured in several rounds over all networks
SEEDED = ("accuracy",)  # measured once per seed; every other probe has one answer


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
        return self.probes[0] in STATIC

    @property
    def group(self) -> str:
        """What may share a process: only what needs no device. A measurement finds the device as new."""
        return "static" if self.static else f"{self.label}, round {self.round}"

    @property
    def label(self) -> str:
        what = "counts" if self.static and len(self.probes) > 1 else " and ".join(self.probes)
        seed = f" (seed {self.seed})" if self.seed else ""
        return f"{self.spec.name} {what}{seed}" + (f", round {self.round + 1}" if self.round else "")


@dataclass(frozen=True)
class Outcome:
    """What a task brought back: its rows, and the training curve if it trained."""

    records: tuple[Record, ...]
    curve: tuple[Mapping[str, Any], ...] = ()


def plan(specs: Sequence[ModelSpec], config: Config) -> list[Task]:
    """Every task of a run, in its order.

    First the static probes of all networks. Then rounds over all networks, each in another order, so that a machine
    that grows hot or busy is unfair to none. Then what is measured once, and training last, one seed of all networks
    after the other: an interrupted run has something of everything.
    """
    static = tuple(probe for probe in config.probes if probe in STATIC)
    rounded = tuple(probe for probe in config.probes if probe in ROUNDED)
    once = [probe for probe in config.probes if probe not in STATIC + ROUNDED + SEEDED]
    seeded = [probe for probe in config.probes if probe in SEEDED]
    tasks = [Task(spec, static, 0, config) for spec in specs if static]
    for number in range(config.rounds if rounded else 0):
        shuffled = random.Random(number).sample(list(specs), len(specs))
        tasks += [Task(spec, rounded, 0, config, number) for spec in shuffled]
    tasks += [Task(spec, (probe,), 0, config) for spec in specs for probe in once]
    tasks += [Task(spec, (probe,), seed, config) for seed in range(config.seeds) for spec in specs for probe in seeded]
    return tasks


def remaining(tasks: Sequence[Task], records: Sequence[Record], retry_failed: bool) -> list[Task]:
    """The tasks that have no complete outcome yet, without the probes that have."""
    done = {r.key for r in records if not (retry_failed and r.failed)}
    left = []
    for task in tasks:
        missing = tuple(
            probe
            for probe in task.probes
            if not done.issuperset(
                (task.spec.name, probe, metric, task.seed, task.round) for metric in metrics_of(probe)
            )
        )
        if missing:
            left.append(replace(task, probes=missing))
    return left


def _keys(task: Task, probe: str) -> Iterator[RecordKey]:
    """Of the rows that a probe of a task owes."""
    return ((task.spec.name, probe, metric, task.seed, task.round) for metric in metrics_of(probe))


def execute(task: Task, device: str) -> Outcome:
    """Run one task here and now. Never raises: whatever goes wrong is in the rows."""
    records: list[Record] = []
    curve: tuple[Mapping[str, Any], ...] = ()
    for probe in task.probes:
        start = time.perf_counter()
        try:
            measurement = PROBES[probe](
                task.spec, replace(task.config, device=device, seed=task.seed, round=task.round)
            )
        except Unsupported as reason:
            records += _without_value(task, probe, "skipped", str(reason), time.perf_counter() - start)
            continue
        except Exception as error:
            status: Status = "oom" if is_out_of_memory(error) else "failed"
            first_line = (str(error).strip().splitlines() or ["no message"])[0]
            note = f"{type(error).__name__}: {first_line}"
            records += _without_value(task, probe, status, note, time.perf_counter() - start)
            continue
        seconds = time.perf_counter() - start
        records += [_record(task, probe, metric, reading, seconds) for metric, reading in measurement.readings.items()]
        curve = measurement.curve or curve
    return Outcome(tuple(records), curve)


def run_tasks(
    run: Run,
    tasks: Sequence[Task],
    devices: Sequence[str],
    timeout_s: float | None,
    on_start: Callable[[Task, str], object],
    on_end: Callable[[Task, Outcome], object],
) -> None:
    """Execute the tasks and append their rows to the run, each as soon as it is there.

    Static tasks go first and use every processor; then each device works alone, with nothing beside it.
    """
    processors = ["meta"] * min(os.cpu_count() or 1, 8)
    with run.writer() as writer:
        for slots, part in (
            (processors, [task for task in tasks if task.static]),
            (devices, [task for task in tasks if not task.static]),
        ):
            engine: LocalEngine[Task, Outcome] = LocalEngine(
                slots[: len(part)], execute, run.folder / "workers.log", preload=("bench.probes.preload", __name__)
            )
            for task, outcome in engine.run(part, timeout_s, on_start):
                if isinstance(outcome, Crash):
                    outcome = crashed(task, outcome)
                if outcome.curve:
                    run.curves.mkdir(exist_ok=True)
                    pd.DataFrame(outcome.curve).to_parquet(run.curve_path(task.spec.name, task.seed))
                writer.append(outcome.records)
                on_end(task, outcome)


def crashed(task: Task, crash: Crash) -> Outcome:
    """The rows of a task that brought its process down or took too long."""
    rows = [
        row for probe in task.probes for row in _without_value(task, probe, crash.kind, crash.reason, crash.seconds)
    ]
    return Outcome(tuple(rows))


def _record(task: Task, probe: str, metric: str, reading: Reading | Unsupported, seconds: float) -> Record:
    """The row of one metric, as the probe read it."""
    blank = _blank(task, probe, metric, seconds)
    if isinstance(reading, Unsupported):
        return replace(blank, status="skipped", note=str(reading))
    usable = math.isfinite(reading.value)
    return replace(
        blank,
        value=reading.value if usable else None,
        status="ok" if usable else "failed",
        note=reading.note if usable else f"the value is {reading.value}",
        samples=reading.samples,
        trials=reading.trials,
        batch_size=reading.batch_size,
        asked_batch_size=reading.asked_batch_size,
        predicted=reading.predicted,
        cuda_graphs=reading.cuda_graphs,
        device=reading.device,
    )


def _without_value(task: Task, probe: str, status: Status, reason: str, seconds: float) -> list[Record]:
    """One row per metric that a probe should have measured, with the reason why there is none."""
    return [replace(_blank(task, probe, metric, seconds), status=status, note=reason) for metric in metrics_of(probe)]


def _blank(task: Task, probe: str, metric: str, seconds: float) -> Record:
    """What is known of a row before its value; an accuracy row carries its images and budget even if it failed."""
    image_set = task.config.image_sets.get(task.spec.track) if probe == "accuracy" else None
    # Counts are taken of the network as its paper has it, however it runs.
    execution = Execution() if probe in STATIC else task.config.execution
    return Record(
        model=task.spec.name,
        probe=probe,
        metric=metric,
        value=None,
        unit=METRICS[metric].unit,
        status="failed",
        seconds=round(seconds, 3),
        seed=task.seed,
        round=task.round,
        precision=execution.precision,
        memory_format=execution.memory_format,
        compile=execution.compile,
        dataset=image_set.name if image_set else None,
        budget=str(task.config.budget) if image_set else None,
    )
