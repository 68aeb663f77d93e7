"""What every engine offers, wherever it runs its tasks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar


class GroupedTask(Protocol):
    @property
    def group(self) -> str:
        """Tasks of one group may share a process; another group gets a fresh one."""


Task = TypeVar("Task", bound=GroupedTask)
Result = TypeVar("Result")
Execute = Callable[[Task, str], Result]  # (task, device); must be importable by name


@dataclass(frozen=True)
class Crash:
    """A task that brought its worker down, or that was stopped for taking too long."""

    kind: Literal["failed", "timeout"]
    reason: str
    seconds: float


class Stop(Protocol):
    """A wish to end early. It can be waited for: `fileno` becomes readable when it is there."""

    @property
    def requested(self) -> bool: ...

    def fileno(self) -> int: ...


class Engine(Protocol[Task, Result]):  # type: ignore[misc]  # invariant: the result is what `Execute` returns
    def run(
        self,
        tasks: Sequence[Task],
        timeout_s: float | None,
        on_start: Callable[[Task, str], object],
        stop: Stop | None = None,
    ) -> Generator[tuple[Task, Result | Crash]]:
        """Every task with its outcome, in the order in which they end; leaves no process behind, however it ends.

        Once `stop` is requested, what has ended is still yielded; what is under way is given up.
        """


class Workplace(Protocol[Task, Result]):
    def engine(self, execute: Execute[Task, Result], needs_device: bool, tasks: int) -> Engine[Task, Result]:
        """For so many tasks: on a device each, or on processors for those that need none."""
