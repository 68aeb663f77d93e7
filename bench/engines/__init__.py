"""What runs tasks, on this machine or on a cluster, and how it is asked to stop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from types import FrameType, TracebackType
from typing import Any, Literal, Protocol, TypeVar


class GroupedTask(Protocol):
    @property
    def group(self) -> str:
        """Tasks of one group share a process as long as none fails; another group gets a fresh one."""


Task = TypeVar("Task", bound=GroupedTask)
Result = TypeVar("Result")
Execute = Callable[[Task, str], Result]  # (task, device); must be importable by name


@dataclass(frozen=True)
class FunctionTask:
    """A task that is no more than a function, importable by name, with its arguments but the last: the device."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    group: str


def call_function(task: FunctionTask, device: str) -> Any:
    """What the function returns, as an executor calls it."""
    return task.function(*task.arguments, device)


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


def ignore_start(task: object, device: str) -> None:
    """Take no notice of the start of a task."""


class Executor(Protocol):
    """A machine or a cluster."""

    def run(
        self,
        execute: Execute[Task, Result],
        tasks: Sequence[Task],
        timeout_s: float | None = None,
        on_start: Callable[[Task, str], object] = ignore_start,
        stop: Stop | None = None,
        *,
        needs_device: bool = True,
    ) -> Generator[tuple[Task, Result | Crash]]:
        """Yield every task with its outcome, in the order in which they end; leave no process behind in any case.

        Each has a device for itself, or a processor where it needs none. Once `stop` is requested, tasks that have
        ended are still yielded and those under way are abandoned.

        Raises:
            EngineLost: there is nothing left to run tasks on.
        """


INTERRUPTED = 130  # exit status
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h"  # a live display hides it


class Interrupts:
    """A context in which the first signal only sets `requested`, so that no write is cut off in the middle.

    The second signal ends the process at once, and its workers with it.
    """

    def __init__(self) -> None:
        self.requested = False

    def fileno(self) -> int:
        """Readable once `requested`, so that it can be waited for."""
        return self._wake.fileno()

    def __enter__(self) -> Interrupts:
        self._wake, self._ring = Pipe(duplex=False)  # one that can be waited for on any system
        self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._wake.close()
        self._ring.close()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            os.write(2, _SHOW_CURSOR if sys.stderr.isatty() else b"")
            os.write(2, b"\nstopped; everything measured so far is kept\n")
            os._exit(INTERRUPTED)
        self.requested = True
        self._ring.send_bytes(b"!")
