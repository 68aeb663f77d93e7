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

from bench.config import Budget, Task
from bench.metrics import METRICS
from bench.quantity import in_sentence, with_unit
from bench.records.record import Record
from bench.runner.execute import Outcome
from bench.runner.plan import first_guess_s

Kind = tuple[tuple[str, ...], Budget]  # tasks that take about as long: the same probes under the same budget


_SHOWN = 4  # scores of a task, of which some have twenty


class Display:
    """Follows a run task by task and says what is under way, how much is done and how long the rest may take."""

    def __init__(self, tasks: Sequence[Task], console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._left = Counter(map(_kind, tasks))
        self._first_guess = {_kind(task): first_guess_s(task) for task in tasks}
        self._total = len(tasks)
        self._done = 0
        self._seconds: defaultdict[Kind, list[float]] = defaultdict(list)
        self._started: dict[str, float] = {}  # by label: what is under way
        self._bar: Progress | None = None

    def __enter__(self) -> Display:
        if self._console.is_terminal and self._total:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
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
        self._started[task.label] = time.monotonic()
        self._show()

    def ended(self, task: Task, outcome: Outcome) -> None:
        self._done += 1
        self._left[_kind(task)] -= 1
        elapsed = time.monotonic() - self._started.pop(task.label)
        self._seconds[_kind(task)].append(elapsed)
        line = f"{task.label}: {_told(outcome.records)} ({elapsed:.1f} s)"
        if self._bar is None:
            line = f"[{self._done}/{self._total}] {line}, {self.time_left()}"
            self._console.print(line, markup=False, soft_wrap=True)
            return
        self._show()
        if any(record.failed for record in outcome.records):
            self._bar.console.print(line, markup=False, highlight=False)

    def _show(self) -> None:
        if self._bar is not None:
            doing = " | ".join(self._started)
            self._bar.update(self._row, completed=self._done, description=doing, left=self.time_left(), refresh=True)

    def time_left(self) -> str:
        """From the mean time of each probe so far, or a first guess where a probe has not run yet."""
        seconds = 0.0
        for kind, count in self._left.items():
            seen = self._seconds.get(kind)
            if count:
                seconds += count * (statistics.fmean(seen) if seen else self._first_guess[kind])
        if not any(self._left.values()):
            return "done"
        return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"


def _kind(task: Task) -> Kind:
    return task.probes, task.budget


def _told(records: Sequence[Record]) -> str:
    """The rows of a task in a few words: its scores, and what failed; or else why there are none."""
    parts = [
        f"{in_sentence(METRICS[record.metric])} {with_unit(record.value, record.unit)}"
        for record in records
        if record.value is not None and METRICS[record.metric].better is not None
    ]
    untold = [record for record in records if record.failed or not parts]
    reasons = dict.fromkeys(f"{record.status}: {record.note}" for record in untold if record.status != "ok")
    shown = [*parts[:_SHOWN], f"{len(parts) - _SHOWN} more"] if len(parts) > _SHOWN + 1 else parts
    return ", ".join([*shown, *reasons])
