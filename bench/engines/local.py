"""One worker process per device on this machine; a worker that dies is replaced and its task becomes a `Crash`."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic

from bench.device import accelerator
from bench.engines import Crash, Execute, Result, Stop, Task, has_failed, ignore_start, isolation

KEPT_BYTES = 1 << 16  # of what each task prints
_ROOT = Path(__file__).resolve().parents[2]
_DIES_WITHIN_S = 15.0  # what it takes to give back a GPU's memory, and more
_LONGEST_WAIT_S = 86_400.0  # of one wait: poll() takes at most 24 days
_STARTS = 30  # attempts to start a worker, a tenth of a second apart


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    output: CapturedOutput
    group: str
    used: bool = False  # whether a task has ended in it


@dataclass
class _Slot(Generic[Task, Result]):
    """A device, its worker process, and the task under way there."""

    device: str
    execute: Execute[Task, Result]
    worker: _Worker | None = None
    task: Task | None = None
    started: float = 0.0


@dataclass
class LocalMachine:
    """Runs tasks in worker processes, one per device, or one per processor where none is needed.

    On Linux, workers come from a fork server that has imported what they need, so a fresh process costs milliseconds
    rather than the seconds of importing torch. Elsewhere there is no fork, or one that macOS's own libraries do not
    survive, and each worker starts from nothing. A fresh process isolates groups of tasks from one another: what one
    leaves in the allocator or in autotuning caches, and whatever it breaks, is gone before the next one starts.
    """

    devices: Sequence[str]
    log: Path  # collects the end of what each task prints
    preload: Sequence[str] = ()  # modules that the fork server imports
    memory_limit: int | None = None  # bytes for each worker; None: what is free, and no limit on a GPU
    threads: int | None = None  # of each worker; None: PyTorch's default

    def __post_init__(self) -> None:
        self._forks = sys.platform == "linux" and "forkserver" in multiprocessing.get_all_start_methods()
        self._context: BaseContext = multiprocessing.get_context("forkserver" if self._forks else "spawn")
        if self._forks:
            self._context.set_forkserver_preload(["bench.engines.reaper", *self.preload])
        isolation.spin_briefly()
        # Python's resource tracker cleans up after workers that were killed, such as locks of torch.compile, and would
        # end a good run with a warning.
        quiet, wanted = "ignore:resource_tracker:UserWarning", os.environ.get("PYTHONWARNINGS", "")
        if quiet not in wanted:
            os.environ["PYTHONWARNINGS"] = f"{wanted},{quiet}" if wanted else quiet

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
        """As `bench.engines.Executor.run`."""
        devices = self.devices if needs_device else ("meta",) * min(os.cpu_count() or 1, 8)
        slots = [_Slot(device, execute) for device in devices[: len(tasks)]]
        waiting = deque(tasks)
        try:
            while not (stop and stop.requested) and (waiting or any(slot.task is not None for slot in slots)):
                for slot in slots:
                    if slot.task is None and waiting:
                        task = self._next(slot, slots, waiting)
                        self._begin(slot, task)
                        on_start(task, slot.device)
                yield from self._ended(slots, timeout_s, stop, waiting)
        finally:
            for slot in slots:
                self._end(slot)

    def _next(self, slot: _Slot[Task, Result], slots: Sequence[_Slot[Task, Result]], waiting: deque[Task]) -> Task:
        """The first task of the group whose process the slot has, else the first of one that is at no other slot."""
        own = slot.worker.group if slot.worker else None
        elsewhere = {other.worker.group for other in slots if other is not slot and other.worker is not None}
        groups = [task.group for task in waiting]
        index = next((n for n, group in enumerate(groups) if group == own), None)
        if index is None:
            index = next((n for n, group in enumerate(groups) if group not in elsewhere), 0)
        task = waiting[index]
        del waiting[index]
        return task

    def _begin(self, slot: _Slot[Task, Result], task: Task) -> None:
        if slot.worker is not None and slot.worker.group != task.group:
            self._end(slot)
        if slot.worker is None:
            slot.worker = self._start(slot, task.group)
        slot.task, slot.started = task, time.monotonic()
        with contextlib.suppress(OSError):  # it died between two tasks: its sentinel will say so
            slot.worker.connection.send((task, slot.device))

    def _start(self, slot: _Slot[Task, Result], group: str) -> _Worker:
        """Start a worker.

        Raises:
            OSError: no process can be started.
        """
        for _ in range(_STARTS):
            try:
                return self._fork(slot, group)
            except (EOFError, ConnectionError):  # the fork server was killed; a later call starts another
                time.sleep(0.1)
        raise OSError("the server that starts worker processes does not answer")

    def _fork(self, slot: _Slot[Task, Result], group: str) -> _Worker:
        ours, theirs = self._context.Pipe()
        captured, output = self._context.Pipe(duplex=False)
        limit = self.memory_limit
        if limit is None and accelerator.on_host(slot.device):
            limit = isolation.available_memory()
        process = self._context.Process(  # type: ignore[attr-defined]  # every context has its own
            target=_serve,
            args=(theirs, output, slot.execute, limit, self.threads, dict(os.environ)),
            name=f"bench-{group}",
            daemon=True,
        )
        if self._forks:
            from multiprocessing import forkserver

            with contextlib.chdir(_ROOT):  # or it would import what a user's own folder has under the name bench
                forkserver.ensure_running()
        process.start()
        theirs.close()
        output.close()
        return _Worker(process, ours, CapturedOutput(captured), group)

    def _ended(
        self, slots: Sequence[_Slot[Task, Result]], timeout_s: float | None, stop: Stop | None, waiting: deque[Task]
    ) -> Iterator[tuple[Task, Result | Crash]]:
        """Wait until something happens; yield the tasks that have ended by then.

        A process in which a task has failed is not used again. Where other tasks had ended in it before, they may be
        at fault: the task is put back, to be tried once more with a process of its own.
        """
        busy = [(slot, slot.worker, slot.task) for slot in slots]
        under_way = [(slot, worker, task) for slot, worker, task in busy if worker is not None and task is not None]
        patience = None
        if timeout_s is not None:
            patience = max(0.0, min(slot.started for slot, _, _ in under_way) + timeout_s - time.monotonic())
            patience = min(patience, _LONGEST_WAIT_S)
        handles: list[Connection | int | Stop] = [] if stop is None else [stop]
        for _, worker, _ in under_way:
            handles += [worker.connection, worker.process.sentinel]
            handles += [worker.output.pipe] if worker.output.open else []
        try:
            ready = wait(handles, patience)  # type: ignore[arg-type]
        except InterruptedError:  # Windows: a signal, whose handler has made the request to stop
            ready = []
        for slot, worker, task in under_way:
            worker.output.read()
            outcome: Result | Crash | None = None
            if worker.connection in ready or worker.process.sentinel in ready:
                received = _received(worker)
                outcome = received[0] if received else self._crash(slot, worker)
            elif timeout_s is not None and time.monotonic() - slot.started >= timeout_s:
                outcome = Crash("timeout", f"stopped after {timeout_s:g} s (--task-timeout-s)", timeout_s)
            if outcome is not None:
                worker.output.read()
                self._keep(worker)
                slot.task = None
                if has_failed(outcome):
                    stuck = self._end(slot)
                    if stuck and isinstance(outcome, Crash):
                        outcome = replace(outcome, reason=f"{outcome.reason}; {stuck}")
                    if worker.used and not (isinstance(outcome, Crash) and outcome.kind == "timeout"):
                        waiting.appendleft(task)
                        continue
                worker.used = True
                yield task, outcome

    def _crash(self, slot: _Slot[Task, Result], worker: _Worker) -> Crash:
        worker.process.join(timeout=5)
        worker.output.read()
        code = worker.process.exitcode
        if code is None:
            reason = "its process stopped answering"
        elif code < 0:
            name = signal.Signals(-code).name
            hint = "; the system kills what uses too much memory" if name == "SIGKILL" else ""
            reason = f"its process was killed by {name}{hint}"
        else:
            reason = f"its process ended with exit status {code}"
        tail = worker.output.tail()
        return Crash("failed", f"{reason}; last output: {tail}" if tail else reason, time.monotonic() - slot.started)

    def _keep(self, worker: _Worker) -> None:
        """Add what the task printed to the log. The log is no result: a full disk does not end the run here."""
        text = worker.output.text()
        worker.output.clear()
        if text:
            with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as file:
                file.write(f"--- {worker.group}\n{text.rstrip()}\n")

    def _end(self, slot: _Slot[Task, Result]) -> str:
        """Kill the worker, whose results have all been taken, and whatever it has started.

        Says so where it stays: a system call that hangs, such as one of a GPU's driver, outlasts any signal.
        """
        worker, slot.worker = slot.worker, None
        if worker is None:
            return ""
        process, stuck = worker.process, ""
        assert process.pid is not None
        isolation.kill_with_descendants(process.pid)
        process.kill()  # it may not have had the time to become a group's leader
        process.join(_DIES_WITHIN_S)
        if process.exitcode is None:
            multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]  # or Python's end waits
            stuck = f"process {process.pid} was killed and does not end: it may still hold {slot.device}"
            print(f"bench: {stuck}", file=sys.stderr)
        else:
            process.close()
        worker.connection.close()
        worker.output.close()
        return stuck


def _received(worker: _Worker) -> list[Any]:
    """The one result that a worker has sent; none if it died before, though others may still hold its end open."""
    with contextlib.suppress(EOFError, OSError):
        return [worker.connection.recv()] if worker.connection.poll() else []
    return []


def _serve(
    connection: Connection,
    output: Connection,
    execute: Execute[Task, Result],
    limit: int | None,
    threads: int | None,
    environment: Mapping[str, str],
) -> None:
    """Run tasks in the worker process until the other side is gone."""
    os.environ.clear()  # a fork server has that of the moment in which it started
    os.environ.update(environment)
    isolation.die_with_main_process()
    isolation.be_killed_first()
    isolation.keep_freed_memory()
    if limit is not None:
        isolation.limit_memory(limit)
    if threads is not None:
        import torch  # a worker has it; who only starts workers does not need it

        torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides
    print_to(output)
    while True:
        try:
            task, device = connection.recv()
            outcome = execute(task, device)
            sys.stdout.flush()
            sys.stderr.flush()
            connection.send(outcome)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


class CapturedOutput:
    """The main process's end of the pipe that is a worker's standard output and standard error.

    The end of what a task prints is kept for the log and for the reason of a crash; a flood costs no space.
    """

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.open = True
        self._end = b""
        self._dropped = 0

    def read(self) -> None:
        """Take what is there, without waiting."""
        for _ in range(4):  # more than a pipe holds: takes all that was there at the call, but no endless flood
            if not self.open or not self.pipe.poll(0):
                return
            chunk = _next_chunk(self.pipe)
            self.open = bool(chunk)
            self._dropped += max(0, len(self._end) + len(chunk) - KEPT_BYTES)
            self._end = (self._end + chunk)[-KEPT_BYTES:]

    def text(self) -> str:
        """What was printed; if it was too much, its end and how much is left out."""
        left_out = f"[{self._dropped:,} bytes left out]\n" if self._dropped else ""
        return left_out + self._end.decode("utf-8", errors="replace")

    def tail(self) -> str:
        """The last three lines as one, shortened, without control characters."""
        lines = [line.strip() for line in self._end.decode("utf-8", errors="replace").splitlines() if line.strip()]
        tail = " / ".join(line[-200:] for line in lines[-3:])
        return "".join(character if character.isprintable() else " " for character in tail)

    def clear(self) -> None:
        """Start anew, for the next task of the same worker."""
        self._end, self._dropped = b"", 0

    def close(self) -> None:
        self.pipe.close()
        self.open = False


def _next_chunk(pipe: Connection) -> bytes:
    """What can be read at once; nothing at the end."""
    if sys.platform != "win32":
        chunk = os.read(pipe.fileno(), KEPT_BYTES)
    else:
        try:  # a pipe is no file there, and each write to it is a message
            chunk = pipe.recv_bytes()
        except (EOFError, OSError):
            chunk = b""
    return chunk


def print_to(pipe: Connection) -> None:
    """Make a pipe the standard output and standard error of this process."""
    if sys.platform == "win32":
        import msvcrt

        number = msvcrt.open_osfhandle(pipe.fileno(), os.O_WRONLY)
    else:
        number = pipe.fileno()
    os.dup2(number, 1)
    os.dup2(number, 2)
    # Line-buffered, so that a worker that dies loses no output.
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, encoding="utf-8", errors="replace") for n in (1, 2))
