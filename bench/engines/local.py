"""One worker process per device on this machine; a worker that dies is replaced and its task becomes a `Crash`."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar


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


@dataclass
class _Worker:
    process: ForkServerProcess
    connection: Connection
    group: str


@dataclass
class _Slot(Generic[Task]):
    """A device, the process that serves it, and the task that is under way there."""

    device: str
    worker: _Worker | None = None
    task: Task | None = None
    started: float = 0.0


class LocalEngine(Generic[Task, Result]):
    """Runs tasks in worker processes, one per device.

    Workers come from a fork server that has already imported what they need, so that a fresh process costs milliseconds
    and not the seconds of importing torch. That buys isolation: what one network leaves in the allocator, in
    autotuning caches or in a broken state is gone before the next one starts.
    """

    def __init__(
        self, devices: Sequence[str], execute: Execute[Task, Result], log: Path, preload: Sequence[str] = ()
    ) -> None:
        """`log` collects what workers write to their standard error; `preload` names modules to import beforehand."""
        self._slots: list[_Slot[Task]] = [_Slot(device) for device in devices]
        self._execute = execute
        self._log = log
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        # How long an idle OpenMP thread spins before it sleeps. libgomp's default (300,000 rounds, milliseconds) makes
        # two threads that compete with anything else twenty times slower; this is as fast where nothing competes.
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")

    def run(
        self, tasks: Sequence[Task], timeout_s: float | None, on_start: Callable[[Task, str], object]
    ) -> Iterator[tuple[Task, Result | Crash]]:
        """Every task with its outcome, in the order in which they end; leaves no process behind, however it ends."""
        waiting = deque(tasks)
        try:
            while waiting or any(slot.task is not None for slot in self._slots):
                for slot in self._slots:
                    if slot.task is None and waiting:
                        self._begin(slot, waiting.popleft())
                        on_start(slot.task, slot.device)  # type: ignore[arg-type]
                yield from self._finished(timeout_s)
        finally:
            for slot in self._slots:
                self._stop(slot)

    def _begin(self, slot: _Slot[Task], task: Task) -> None:
        if slot.worker is not None and slot.worker.group != task.group:
            self._stop(slot)
        if slot.worker is None:
            slot.worker = self._start(task.group)
        slot.task, slot.started = task, time.monotonic()
        with contextlib.suppress(OSError):  # it died between two tasks: its sentinel says so in a moment
            slot.worker.connection.send((task, slot.device))

    def _start(self, group: str) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, self._execute, str(self._log)), name=f"bench-{group}", daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours, group)

    def _finished(self, timeout_s: float | None) -> Iterator[tuple[Task, Result | Crash]]:
        """Wait for at least one task to end, or for the next time-out to fall due."""
        busy = [slot for slot in self._slots if slot.task is not None and slot.worker is not None]
        patience = None
        if timeout_s is not None:
            patience = max(0.0, min(slot.started for slot in busy) + timeout_s - time.monotonic())
        handles = [slot.worker.connection for slot in busy if slot.worker is not None]
        sentinels = [slot.worker.process.sentinel for slot in busy if slot.worker is not None]
        ready = wait([*handles, *sentinels], patience)
        for slot in busy:
            worker, task = slot.worker, slot.task
            assert worker is not None
            assert task is not None
            outcome: Result | Crash | None = None
            if worker.connection in ready or worker.process.sentinel in ready:
                try:
                    outcome = worker.connection.recv()
                except (EOFError, OSError):
                    outcome = self._crash(slot, worker)
                    self._stop(slot)
            elif timeout_s is not None and time.monotonic() - slot.started >= timeout_s:
                outcome = Crash("timeout", f"stopped after {timeout_s:g} s (--task-timeout-s)", timeout_s)
                self._stop(slot)
            if outcome is not None:
                slot.task = None
                yield task, outcome

    def _crash(self, slot: _Slot[Task], worker: _Worker) -> Crash:
        worker.process.join(timeout=5)
        code = worker.process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = "; the system kills what uses too much memory" if name == "SIGKILL" else ""
            reason = f"its process was killed by {name}{hint}"
        else:
            reason = f"its process ended with exit status {code}"
        last = _last_line(self._log)
        if last:
            reason = f"{reason}; last words: {last}"
        return Crash("failed", reason, time.monotonic() - slot.started)

    def _stop(self, slot: _Slot[Task]) -> None:
        worker, slot.worker = slot.worker, None
        if worker is None:
            return
        worker.connection.close()  # an idle worker ends by itself
        if slot.task is not None:
            worker.process.kill()
        worker.process.join(timeout=2)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.process.close()


def _serve(connection: Connection, execute: Execute[Task, Result], log: str) -> None:
    """The worker: run what comes until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the main process decides
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 2)
    os.close(file)
    while True:
        try:
            task, device = connection.recv()
            connection.send(execute(task, device))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _last_line(log: Path) -> str:
    """The last line that a worker wrote, shortened."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip()[:200] if lines else ""
