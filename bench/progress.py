"""What a run shows while it works: a live bar on a terminal, one plain line per task elsewhere."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from bench.config import Config
from bench.metrics import METRICS
from bench.record import Record
from bench.render.quantity import quantity
from bench.runner import Outcome, Task


class Display:
    """Follows a run task by task and says what is under way, how much is done and how long the rest may take."""

    def __init__(self, tasks: Sequence[Task], config: Config, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._left = Counter(task.probe for task in tasks)
        self._total = len(tasks)
        self._done = 0
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._guess = _first_guess(config)
        self._under_way: dict[str, str] = {}  # by device
        self._started: dict[str, float] = {}
        self._bar: Progress | None = None

    def __enter__(self) -> Display:
        if self._console.is_terminal and self._total:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                console=self._console,
            )
            self._row = self._bar.add_task("starting", total=self._total, left="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def started(self, task: Task, device: str) -> None:
        self._under_way[device] = f"{task.spec.name} {task.probe}"
        self._started[f"{task.spec.name} {task.probe} {task.seed}"] = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._row, description=" | ".join(self._under_way.values()), left=self.time_left())

    def ended(self, task: Task, outcome: Outcome) -> None:
        self._done += 1
        self._left[task.probe] -= 1
        elapsed = time.monotonic() - self._started.pop(f"{task.spec.name} {task.probe} {task.seed}")
        self._seconds[task.probe].append(elapsed)
        line = f"{task.spec.name} {task.probe}: {_told(outcome.records)} ({elapsed:.1f} s)"
        if self._bar is None:
            self._console.print(
                f"[{self._done}/{self._total}] {line}, {self.time_left()}", markup=False, soft_wrap=True
            )
            return
        self._bar.update(self._row, completed=self._done, left=self.time_left())
        if any(record.status not in ("ok", "skipped") for record in outcome.records):
            self._bar.print(line, markup=False)

    def time_left(self) -> str:
        """From the mean time of each probe so far, or a first guess where a probe has not run yet."""
        seconds = 0.0
        for probe, count in self._left.items():
            seen = self._seconds.get(probe)
            if count:
                seconds += count * (statistics.fmean(seen) if seen else self._guess.get(probe, 0.0))
        if not any(self._left.values()):
            return "done"
        return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"


def _first_guess(config: Config) -> dict[str, float]:
    """Seconds for one task of the two slow probes, until one has run."""
    training = config.budget.amount if config.budget.kind == "s" else 60.0
    return {"throughput": 4 * config.measure_seconds, "accuracy": 1.3 * training}


def _told(records: Sequence[Record]) -> str:
    """The rows of a task in a few words: its numbers, or why there are none."""
    if records and records[0].status != "ok":
        return f"{records[0].status}: {records[0].note}"
    parts = [
        f"{METRICS[record.metric].label.lower()} {_with_unit(record.value, record.unit)}"
        for record in records
        if record.value is not None and METRICS[record.metric].better is not None
    ]
    return ", ".join(parts)


def _with_unit(value: float, unit: str) -> str:
    return f"{quantity(value, unit)} {unit}" if unit == "images/s" else quantity(value, unit)
