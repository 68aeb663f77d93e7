"""All comparisons of one `ab`: the steps of every network, by worker processes of each side that live throughout."""

from __future__ import annotations

import json
import math
import os
import queue
import random
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bench.config import RequestError
from bench.quantity import first_line
from bench.regression import Verdict, percent, percent_range, verdict
from bench.regression.ab.paired import Comparison, Rules, compare_paired
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
        self.sample_s = 0.0  # how long a sample of its steps lasts

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
        self.sample_s = self.facts.pop("sample_s")

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


@dataclass(frozen=True)
class Pairing:
    """One comparison: the networks of both sides, and which step of them."""

    a: str
    b: str
    step: str  # "inference" or "train"

    @property
    def label(self) -> str:
        return self.a if self.a == self.b else f"{self.b} against {self.a}"

    def __str__(self) -> str:
        return f"{self.label} {self.step}"


@dataclass(frozen=True)
class Result:
    """A comparison with its conditions, or why there is none."""

    pairing: Pairing
    comparison: Comparison | None = None
    batch_sizes: tuple[int, ...] = ()
    failure: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """Of B against A."""
        return verdict(self.comparison.zone, "lower", "s") if self.comparison else None

    def row(self) -> dict[str, str]:
        """As a line of the table."""
        row = {"network": self.pairing.label, "step": self.pairing.step}
        if self.comparison is None:
            return {**row, "verdict": "failed", "time of B": self.failure}
        return {
            **row,
            "verdict": str(self.verdict),
            "time of B": percent(self.comparison.centre),
            "interval": percent_range(self.comparison.interval),
            "A images/s": f"{self._rate('a'):,.0f}",
            "B images/s": f"{self._rate('b'):,.0f}",
            "batch": "/".join(str(size) for size in dict.fromkeys(self.batch_sizes)),
            "builds": str(self.comparison.builds),
            "pairs": str(len(self.comparison.pairs)),
            "seconds": f"{self.comparison.seconds:.0f}",
        }

    def as_json(self) -> dict[str, Any]:
        """Everything, raw pairs included."""
        facts: dict[str, Any] = {"a": self.pairing.a, "b": self.pairing.b, "step": self.pairing.step}
        if self.comparison is None:
            return {**facts, "verdict": None, "failure": self.failure}
        low, high = (bound if math.isfinite(bound) else None for bound in self.comparison.interval)
        return {
            **facts,
            "verdict": self.verdict,
            "log_ratio": self.comparison.centre,
            "log_ratio_low": low,
            "log_ratio_high": high,
            "a_images_per_s": self._rate("a"),
            "b_images_per_s": self._rate("b"),
            "batch_sizes": list(self.batch_sizes),
            "seconds": self.comparison.seconds,
            "builds": self.comparison.builds,
            "pairs": [[pair.a, pair.b, pair.a_first, pair.build] for pair in self.comparison.pairs],
        }

    def _rate(self, side: str) -> float:
        assert self.comparison is not None
        return 1 / statistics.median(getattr(pair, side) for pair in self.comparison.pairs)


@dataclass
class _Workers:
    """The workers of a side, which take turns from build to build: one side's `Step`.

    What sets one process apart from another of the same code, such as where its memory lies, would be taken for a
    difference of the sides if each had only one.
    """

    workers: Sequence[WorkerProcess]
    network: str
    step: str
    builds_each: int  # after so many builds the next worker takes over
    bind: bool  # whether they move to the processor that both sides draw for a build
    batch_size: int = 0
    _builds: int = 0

    def warm_up(self) -> None:
        """Build once in each worker, which imports and tunes."""
        for worker in self.workers:
            worker.build(self.network, self.step)

    def build(self, where: float) -> tuple[float, float]:
        self._worker = self.workers[self._builds // self.builds_each % len(self.workers)]
        self._builds += 1
        built = self._worker.build(self.network, self.step, where if self.bind else None)
        self.batch_size = built.batch_size
        return built.seconds, built.step_seconds

    def seconds_per_image(self, steps: int) -> float:
        return self._worker.sample(steps) / self.batch_size


def run_all(
    pairings: Sequence[Pairing],
    a: Sequence[WorkerProcess],
    b: Sequence[WorkerProcess],
    rules: Rules,
    seed: int,
    say: Callable[[str], object] = lambda line: None,
) -> Iterator[Result]:
    """Yield every pairing with its result; a side that fails spoils its own comparison only."""
    rng = random.Random(seed)
    bind = all(worker.facts["threads"] == 1 for worker in (*a, *b))
    sample_s = a[0].sample_s  # as many steps as fill this
    for pairing in pairings:
        # Every worker of A meets every worker of B.
        side_a = _Workers(a, pairing.a, pairing.step, 1, bind)
        side_b = _Workers(b, pairing.b, pairing.step, len(a), bind)
        try:
            side_a.warm_up()
            side_b.warm_up()
            comparison = compare_paired(side_a, side_b, rules, rng, sample_s, lambda line: say(f"{pairing}: {line}"))  # noqa: B023
        except Failed as failure:
            yield Result(pairing, failure=str(failure))
            continue
        yield Result(pairing, comparison, (side_a.batch_size, side_b.batch_size))
