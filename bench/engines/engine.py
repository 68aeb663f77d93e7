"""What every engine offers, wherever it runs its tasks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar


class GroupedTask(Protocol):
    @property
    def group(self) -> str:
        """Tasks of one group share a process as long as none fails; another group gets a fresh one."""


Task = TypeVar("Task", bound=GroupedTask)
Result = TypeVar("Result")
Execute = Callable[[Task, str], Result]  # (task, device); must be importable by name


@dataclass(frozen=True)
class Crash:
    """A task that ended its worker process, or that was stopped because its time was up."""

    kind: Literal["failed", "timeout"]
    reason: str
    seconds: float


def has_failed(outcome: object) -> bool:
    """Whether a task crashed, timed out, or returned something whose `failed` is true: its process is in doubt."""
    return isinstance(outcome, Crash) or bool(getattr(outcome, "failed", False))


class EngineLost(Exception):
    """Nothing is left to run tasks on; the message is the reason."""


class Stop(Protocol):
    """A request to end early. It can be waited for: `fileno` becomes readable once it is made."""

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
        """Yield every task with its outcome, in the order in which they end; leave no process behind in any case.

        Once `stop` is requested, tasks that have ended are still yielded and those under way are abandoned.

        Raises:
            EngineLost: there is nothing left to run tasks on.
        """


class Executor(Protocol[Task, Result]):
    """A machine or a cluster."""

    def engine(self, execute: Execute[Task, Result], needs_device: bool, tasks: int) -> Engine[Task, Result]:
        """Make an engine for at most `tasks` tasks at once: on a device each, or on processors if none is needed."""
