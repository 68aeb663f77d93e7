"""A worker process of one side, and the questions that it can be asked."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bench.config import RequestError
from bench.quantity import first_line
from bench.regression.ab.sides import Side

START_LIMIT_S = 120.0  # importing torch from a cold disk
_SCRIPT = Path(__file__).with_name("worker.py")


class Failed(Exception):
    """A side could not build or run a step; the message is one line."""


@dataclass(frozen=True)
class Built:
    """A step that is ready: images of a step, how long building took, and how long a step takes at least."""

    batch_size: int
    seconds: float
    step_seconds: float


class WorkerProcess:
    """A running worker of one side."""

    def __init__(self, side: Side, process: subprocess.Popen[str], log: IO[str], answer_limit_s: float) -> None:
        self.side = side
        self._process = process
        self._log = log
        self._answer_limit_s = answer_limit_s
        # A thread reads, as not every system can wait for a pipe and a clock at once.
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.facts: dict[str, Any] = {}  # what a reader must know of this side, once it is ready

    def wait_until_ready(self) -> None:
        """Wait before the first question.

        Raises:
            RequestError: this side cannot serve at all.
        """
        try:
            self.facts = self._answer(START_LIMIT_S)
        except Failed as death:
            raise RequestError(str(death)) from None
        if "refused" in self.facts:
            raise RequestError(f"{self.side.label}: {first_line(self.facts['refused'])}")

    @property
    def process_id(self) -> int:
        return self._process.pid

    def build(self, network: str, step: str, where: float | None = None) -> Built:
        """Make a step ("inference" or "train") anew, on the processor that `where` means (see `paired.Step`).

        Raises:
            Failed: this side cannot.
        """
        return Built(**self._ask(do="build", network=network, what=step, where=where))

    def sample(self, steps: int) -> float:
        """Seconds of one step of what was built last, as the mean over `steps`.

        Raises:
            Failed: the step failed.
        """
        return float(self._ask(do="sample", steps=steps)["seconds"])

    def _ask(self, **question: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except OSError:  # Windows has another one than BrokenPipeError
            raise Failed(self._death()) from None
        reply = self._answer(self._answer_limit_s)
        if "failed" in reply:
            raise Failed(f"{self.side.label}: {first_line(reply['failed'])}")
        return reply

    def _answer(self, limit_s: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=limit_s)
        except queue.Empty:
            self._process.kill()
            raise Failed(f"{self.side.label}: no answer for {limit_s:.0f} s") from None
        if not line:
            raise Failed(self._death())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _read(self) -> None:
        """Queue each line, and an empty one at the end."""
        assert self._process.stdout is not None
        with suppress(ValueError):  # it was closed
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put("")

    def _death(self) -> str:
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        last = f"; last output: {lines[-1].strip()[:200]}" if lines else ""
        return f"{self.side.label}: its process ended with status {code}{last}"


@contextmanager
def running(side: Side, answer_limit_s: float) -> Iterator[WorkerProcess]:
    """Start a worker of a side and end it afterwards in any case; it is not ready yet.

    Raises:
        RequestError: there is no such interpreter.
    """
    # A waiting worker must sleep, not spin.
    environment = {"GOMP_SPINCOUNT": "2000", "KMP_BLOCKTIME": "0", **os.environ}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        try:
            process = subprocess.Popen(
                [side.python, str(_SCRIPT), str(side.suite), str(side.folder), str(side.tree or ""), *side.flags],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                cwd=side.folder,
                env=environment,
            )
        except OSError as error:
            raise RequestError(f"{side.label}: cannot run {side.python}: {error.strerror}") from None
        with process:
            try:
                yield WorkerProcess(side, process, log, answer_limit_s)
            finally:
                _end(process)


@contextmanager
def workers(side: Side, count: int, answer_limit_s: float) -> Iterator[tuple[WorkerProcess, ...]]:
    """Start several workers of a side and end them afterwards; they are not ready yet."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(running(side, answer_limit_s)) for _ in range(count))


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()  # an idle worker ends by itself
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
