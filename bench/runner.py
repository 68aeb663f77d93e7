"""Plan a run, leave out what is already measured, execute the rest, and write down every outcome.

`execute` holds the only broad `except` of the suite: a network that fails in any way becomes a row with the reason.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from bench.config import Config, for_task
from bench.engines.local import Crash, LocalEngine
from bench.metrics import METRICS, metrics_of
from bench.probes import PROBES
from bench.probes.reading import Unsupported
from bench.record import Record, Run, Status
from models.spec import ModelSpec

SEEDED = ("accuracy",)  # measured once per seed; every other probe has one answer
STATIC = (
    "params",
    "macs",
    "macs_fvcore",
    "activations",
    "saved_activation_bytes",
)  # no device, no fresh process


@dataclass(frozen=True)
class Task:
    """One probe of one network with one seed."""

    spec: ModelSpec
    probe: str
    seed: int
    config: Config

    @property
    def group(self) -> str:
        return "static" if self.probe in STATIC else self.spec.name

    @property
    def keys(self) -> list[tuple[str, str, str, int]]:
        return [(self.spec.name, self.probe, metric, self.seed) for metric in metrics_of(self.probe)]


@dataclass(frozen=True)
class Outcome:
    """What a task brought back: its rows, and the training curve if it trained."""

    records: tuple[Record, ...]
    curve: tuple[Mapping[str, Any], ...] = ()


def plan(specs: Sequence[ModelSpec], config: Config) -> list[Task]:
    """Every task of a run: the static probes of all networks first, then network by network what needs the device."""
    tasks = [
        Task(spec, probe, seed, config)
        for spec in specs
        for probe in config.probes
        for seed in range(config.seeds if probe in SEEDED else 1)
    ]
    return sorted(tasks, key=lambda task: task.group != "static")  # stable: keeps the order within both parts


def remaining(tasks: Sequence[Task], records: Sequence[Record], retry_failed: bool) -> list[Task]:
    """The tasks that have no complete outcome yet."""
    done = {r.key for r in records if not retry_failed or r.status in ("ok", "skipped")}
    return [task for task in tasks if not done.issuperset(task.keys)]


def execute(task: Task, device: str) -> Outcome:
    """Run one task here and now. Never raises: whatever goes wrong is in the rows."""
    start = time.perf_counter()
    try:
        measurement = PROBES[task.probe](task.spec, for_task(task.config, device, task.seed))
    except Unsupported as reason:
        return without_value(task, "skipped", str(reason), time.perf_counter() - start)
    except Exception as error:
        status: Status = "oom" if _is_out_of_memory(error) else "failed"
        first_line = (str(error).strip().splitlines() or ["no message"])[0]
        return without_value(task, status, f"{type(error).__name__}: {first_line}", time.perf_counter() - start)
    seconds = time.perf_counter() - start
    rows = []
    for metric, reading in measurement.readings.items():
        usable = math.isfinite(reading.value)
        rows.append(
            Record(
                model=task.spec.name,
                probe=task.probe,
                metric=metric,
                value=reading.value if usable else None,
                unit=METRICS[metric].unit,
                status="ok" if usable else "failed",
                note=reading.note if usable else f"the value is {reading.value}",
                samples=reading.samples,
                trials=reading.trials,
                seconds=round(seconds, 3),
                seed=task.seed,
                batch_size=reading.batch_size,
                precision=task.config.precision,
                device=reading.device,
                dataset=reading.dataset,
                budget=reading.budget,
            )
        )
    return Outcome(tuple(rows), measurement.curve)


def without_value(task: Task, status: Status, reason: str, seconds: float) -> Outcome:
    """One row per metric that the task should have measured, with the reason why there is none."""
    return Outcome(
        tuple(
            Record(
                model=task.spec.name,
                probe=task.probe,
                metric=metric,
                value=None,
                unit=METRICS[metric].unit,
                status=status,
                note=reason,
                seconds=round(seconds, 3),
                seed=task.seed,
                precision=task.config.precision,
            )
            for metric in metrics_of(task.probe)
        )
    )


def run_tasks(
    run: Run,
    tasks: Sequence[Task],
    devices: Sequence[str],
    timeout_s: float | None,
    on_start: Callable[[Task, str], object],
    on_end: Callable[[Task, Outcome], object],
) -> None:
    """Execute the tasks and append their rows to the run, each as soon as it is there."""
    engine: LocalEngine[Task, Outcome] = LocalEngine(devices, execute, run.folder / "workers.log")
    with run.writer() as writer:
        started: dict[int, float] = {}

        def note_start(task: Task, device: str) -> None:
            started[id(task)] = time.monotonic()
            on_start(task, device)

        for task, outcome in engine.run(tasks, timeout_s, note_start):
            if isinstance(outcome, Crash):
                seconds = time.monotonic() - started[id(task)]
                outcome = without_value(task, outcome.kind, outcome.reason, seconds)
            if outcome.curve:
                run.curves.mkdir(exist_ok=True)
                pd.DataFrame(outcome.curve).to_parquet(run.curves / f"{task.spec.name}-seed{task.seed}.parquet")
            writer.append(outcome.records)
            on_end(task, outcome)


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU allocator raises a plain RuntimeError; its text is all there is to go by.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
