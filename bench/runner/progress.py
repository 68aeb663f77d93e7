"""What a run shows while it works: a live bar on a terminal, one plain line per task elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from bench.config import Task
from bench.metrics import METRICS
from bench.quantity import in_sentence, with_unit
from bench.records.record import Record
from bench.runner.plan import Pace, minutes

if TYPE_CHECKING:  # which shows its progress here
    from bench.runner.execute import Outcome

_SHOWN = 3  # scores of a task, of which some have twenty


class Display:
    """Follows a run task by task and says what is under way, how much is done and how long the rest may take."""

    def __init__(
        self, tasks: Sequence[Task], pace: Pace, console: Console | None = None, *, more_to_come: str = ""
    ) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._done = 0
        self._started: dict[str, float] = {}  # by label: what is under way
        self._skipped: set[tuple[object, ...]] = set()  # what was said once
        self._bar: Progress | None = None
        self.expect(tasks, pace, more_to_come)

    def expect(self, tasks: Sequence[Task], pace: Pace, more_to_come: str = "") -> None:
        """From now on these are what is left to do, and what `more_to_come` names, of which nobody knows the time."""
        self._pace, self._more_to_come = pace, more_to_come
        self._left = {task.label: (task, needs) for task, needs in zip(tasks, pace.reckoned(tasks), strict=True)}
        self._total = self._done + len(tasks)
        if self._bar is not None:
            self._bar.update(self._row, total=self._total)

    def say(self, text: str) -> None:
        """Print lines between those of the tasks."""
        console = self._console if self._bar is None else self._bar.console
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Display:
        if self._console.is_terminal and self._total:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
                BarColumn(bar_width=16),
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
        _, reckoned = self._left.pop(task.label)
        elapsed = time.monotonic() - self._started.pop(task.label)
        self._pace.ended(task, reckoned, elapsed)
        if all(record.status == "skipped" for record in outcome.records) and outcome.records:
            why = task.probes, *dict.fromkeys(record.note for record in outcome.records)
            if why in self._skipped:  # for every network the same
                self._show()
                return
            self._skipped.add(why)
        if self._bar is None:
            before, after = f"[{self._done}/{self._total}] {task.label}: ", f" ({elapsed:.1f} s), {self.time_left()}"
            room = self._console.width - len(before) - len(after)
            self.say(f"{before}{_told(outcome.records, room)}{after}")
            return
        self._show()
        if any(record.failed for record in outcome.records):
            self.say(f"{task.label}: {_told(outcome.records)} ({elapsed:.1f} s)")

    def _show(self) -> None:
        if self._bar is not None:
            doing = " | ".join(self._started)
            self._bar.update(self._row, completed=self._done, description=doing, left=self.time_left(), refresh=True)

    def time_left(self) -> str:
        """What is reckoned for the rest, corrected by how long tasks of its kind have taken so far."""
        then = f"then {self._more_to_come}" if self._more_to_come else ""
        if not self._left:
            return then or "done"
        seconds = sum(reckoned * self._pace.off(task) for task, reckoned in self._left.values())
        return f"about {minutes(seconds)} left" + (f", {then}" if then else "")


def _told(records: Sequence[Record], room: float = math.inf) -> str:
    """The rows of a task in a few words: its scores, and what failed; or else why there are none.

    As many scores as fit into the room, but one in any case; a reason is never cut.
    """
    parts = [
        f"{in_sentence(METRICS[record.metric])} {with_unit(record.value, record.unit)}"
        for record in records
        if record.value is not None and (METRICS[record.metric].better or METRICS[record.metric].predicts)
    ]
    untold = [record for record in records if record.failed or not parts]
    reasons = dict.fromkeys(f"{record.status}: {record.note}" for record in untold if record.status != "ok")
    said = ", ".join(reasons) or "measured"  # where no number is better than another
    for number in range(len(parts) if len(parts) <= _SHOWN + 1 else _SHOWN, 0, -1):
        more = [f"{len(parts) - number} more"] if number < len(parts) else []
        said = ", ".join([*parts[:number], *more, *reasons])
        if len(said) <= room:
            break
    return said
