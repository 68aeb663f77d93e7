"""Plan a run, leave out what is already measured, execute the rest, and write down every outcome.

`execute` holds the only broad `except` of a run: a network that fails in any way becomes a row with the reason.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch

from bench.config import Config, for_task
from bench.engines.local import Crash, LocalEngine
from bench.metrics import METRICS, metrics_of
from bench.probes import PROBES
from bench.probes.reading import Reading, Unsupported
from bench.record import Record, Run, Status
from models.spec import ModelSpec

SEEDED = ("accuracy",)  # measured once per seed; every other probe has one answer
STATIC = ("params", "macs", "macs_fvcore", "activations", "saved_activation_bytes")  # need no device


@dataclass(frozen=True)
class Task:
    """Probes of one network that are measured in one go: all static ones together, every other one alone."""

    spec: ModelSpec
    probes: tuple[str, ...]
    seed: int
    config: Config

    @property
    def static(self) -> bool:
        return self.probes[0] in STATIC

    @property
    def group(self) -> str:
        """What may share a process: a network's own measurements, or anything that needs no device."""
        return "static" if self.static else self.spec.name

    @property
    def label(self) -> str:
        what = "counts" if len(self.probes) > 1 else self.probes[0]
        return f"{self.spec.name} {what}" + (f" (seed {self.seed})" if self.seed else "")


@dataclass(frozen=True)
class Outcome:
    """What a task brought back: its rows, and the training curve if it trained."""

    records: tuple[Record, ...]
    curve: tuple[Mapping[str, Any], ...] = ()


def plan(specs: Sequence[ModelSpec], config: Config) -> list[Task]:
    """Every task of a run: the static probes of all networks first, then network by network what needs the device."""
    static = tuple(probe for probe in config.probes if probe in STATIC)
    tasks = [Task(spec, static, 0, config) for spec in specs if static]
    for spec in specs:
        for probe in config.probes:
            if probe not in STATIC:
                seeds = config.seeds if probe in SEEDED else 1
                tasks += [Task(spec, (probe,), seed, config) for seed in range(seeds)]
    return tasks


def remaining(tasks: Sequence[Task], records: Sequence[Record], retry_failed: bool) -> list[Task]:
    """The tasks that have no complete outcome yet, without the probes that have."""
    done = {r.key for r in records if not (retry_failed and r.failed)}
    left = []
    for task in tasks:
        missing = tuple(
            probe
            for probe in task.probes
            if not done.issuperset((task.spec.name, probe, metric, task.seed) for metric in metrics_of(probe))
        )
        if missing:
            left.append(replace(task, probes=missing))
    return left


def execute(task: Task, device: str) -> Outcome:
    """Run one task here and now. Never raises: whatever goes wrong is in the rows."""
    records: list[Record] = []
    curve: tuple[Mapping[str, Any], ...] = ()
    for probe in task.probes:
        start = time.perf_counter()
        try:
            measurement = PROBES[probe](task.spec, for_task(task.config, device, task.seed))
        except Unsupported as reason:
            records += _without_value(task, probe, "skipped", str(reason), time.perf_counter() - start)
            continue
        except Exception as error:
            status: Status = "oom" if _is_out_of_memory(error) else "failed"
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
        device=reading.device,
    )


def _without_value(task: Task, probe: str, status: Status, reason: str, seconds: float) -> list[Record]:
    """One row per metric that a probe should have measured, with the reason why there is none."""
    return [replace(_blank(task, probe, metric, seconds), status=status, note=reason) for metric in metrics_of(probe)]


def _blank(task: Task, probe: str, metric: str, seconds: float) -> Record:
    """What is known of a row before its value; an accuracy row carries its images and budget even if it failed."""
    image_set = task.config.image_sets.get(task.spec.track) if probe == "accuracy" else None
    return Record(
        model=task.spec.name,
        probe=probe,
        metric=metric,
        value=None,
        unit=METRICS[metric].unit,
        status="failed",
        seconds=round(seconds, 3),
        seed=task.seed,
        precision="fp32" if probe in STATIC else task.config.precision,
        dataset=image_set.name if image_set else None,
        budget=str(task.config.budget) if image_set else None,
    )


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU allocator raises a plain RuntimeError; its text is all there is to go by.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
