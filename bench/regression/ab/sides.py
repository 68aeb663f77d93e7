"""What A and B are: networks, revisions, Python environments or flags, each a `Side` with workers of its own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bench.config import RequestError
from bench.quantity import first_line, joined

SUITE = Path(__file__).resolve().parents[3]  # the checkout or installation that this process runs
WORKING_TREE = "."
START_LIMIT_S = 120.0  # importing torch from a cold disk
_SCRIPT = Path(__file__).with_name("worker.py")
_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # what git tells its hooks of the repository


@dataclass(frozen=True)
class Side:
    """Everything that one worker process needs."""

    label: str
    python: str  # the interpreter
    suite: Path  # the checkout or installation whose bench/ it runs
    folder: Path  # where it runs, and whose modules come first
    flags: tuple[str, ...]  # as `all` knows them
    tree: Path | None = None  # the checkout that networks `package.module:factory` must come from; None: anywhere


@dataclass(frozen=True)
class Asked:
    """One side as typed."""

    letter: str  # "A" or "B"
    name: str | None  # a network, a revision, or nothing
    python: Path | None
    flags: str


@dataclass(frozen=True)
class Repository:
    """A git repository whose revisions can be compared: the suite's own, or that of a network's developers."""

    root: Path
    subfolder: str  # the current folder, from the root

    @property
    def is_suite(self) -> bool:
        project = self.root / "pyproject.toml"
        return self.root == SUITE or (project.is_file() and 'name = "classic-bench"' in project.read_text("utf-8"))

    def has(self, revision: str) -> bool:
        """Whether a name stands for a commit here, or for the working tree."""
        return revision == WORKING_TREE or self._commit(revision) is not None

    def why_not(self, revision: str) -> str:
        """What to do about a name that stands for no commit."""
        shallow = _git(self.root, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"
        hint = "; it is a shallow clone: `git fetch --unshallow`, or fetch-depth: 0 for actions/checkout"
        return f"nor a revision of {self.root}{hint if shallow else ''}"

    @contextmanager
    def checkout(self, revision: str) -> Iterator[Path]:
        """The files of a revision, gone afterwards; those of the working tree are where they are.

        Raises:
            RequestError: git cannot check it out.
        """
        if revision == WORKING_TREE:
            yield self.root
            return
        with tempfile.TemporaryDirectory(prefix="bench-ab-") as folder:
            tree = Path(folder).resolve() / "tree"
            done = _git(self.root, "worktree", "add", "--detach", "--force", str(tree), f"{revision}^{{commit}}")
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise RequestError(f"git cannot check out {revision}: {reason}")
            try:
                if (tree / ".gitmodules").is_file():  # without --init: those that the working tree has too
                    _git(tree, "submodule", "update", "--recursive")
                yield tree
            finally:
                _git(self.root, "worktree", "remove", "--force", str(tree))

    def _commit(self, revision: str) -> str | None:
        if revision.startswith("-"):
            return None
        done = _git(self.root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        return done.stdout.strip() if done.returncode == 0 else None


def repository() -> Repository | None:
    """The repository of the current folder, else the one that the suite itself is a checkout of; None: neither is.

    Raises:
        RequestError: git refuses the one here, such as one of another owner: to take the suite's would mislead.
    """
    for folder in (Path.cwd(), SUITE):
        done = _git(folder, "rev-parse", "--show-toplevel", "--show-prefix")
        if done.returncode == 0:
            root, subfolder = done.stdout.split("\n")[:2]
            return Repository(Path(root).resolve(), subfolder)
        if "not a git repository" not in done.stderr:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            advice = f"; `{lines[-1]}`" if lines[1:] and lines[-1].startswith("git ") else ""
            raise RequestError(
                f"git refuses {folder}: {(lines or ['no reason given'])[0].removeprefix('fatal: ')}{advice}"
            )
    return None


def split_flags(letter: str, word: str) -> tuple[str, ...]:
    """The flags of one side as a shell would split them.

    Raises:
        RequestError: a quote is left open.
    """
    try:
        return tuple(shlex.split(word))
    except ValueError as error:
        raise RequestError(f"--{letter.lower()} {word!r}: {error}") from None


@contextmanager
def sides(
    asked: Sequence[Asked], common_flags: Sequence[str], revisions_of: Repository | None
) -> Iterator[tuple[Side, ...]]:
    """Each side ready to start. Revisions are checked out in worktrees that are gone afterwards.

    Raises:
        RequestError: git cannot check a revision out.
    """
    with contextlib.ExitStack() as stack:
        found = []
        for one in asked:
            suite, folder, tree = SUITE, Path.cwd(), None
            if revisions_of is not None:
                assert one.name is not None
                tree = stack.enter_context(revisions_of.checkout(one.name))
                folder = tree / revisions_of.subfolder if (tree / revisions_of.subfolder).is_dir() else tree
                if revisions_of.is_suite:
                    suite, folder, tree = tree, tree, None
            # Not resolved: the python of a virtual environment is a link, and where it lies says which one it is.
            python = str(one.python.absolute()) if one.python else sys.executable
            flags = (*common_flags, *split_flags(one.letter, one.flags))
            found.append(Side(_label(one, revisions_of is not None), python, suite, folder, flags, tree))
        yield tuple(found)


def _label(one: Asked, is_revision: bool) -> str:
    """Name a side by whatever distinguishes it: "A (v1.2, --precision bf16)"."""
    name = "working tree" if is_revision and one.name == WORKING_TREE else one.name
    parts = joined(name or "", str(one.python or ""), one.flags, between=", ")
    return f"{one.letter} ({parts})" if parts else one.letter


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run git on the repository of a folder, whichever one it was that started this process in a hook.

    A checkout with the hook's GIT_INDEX_FILE would overwrite what the user has staged.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _HOOKS}
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            env={**environment, "LC_ALL": "C"},
        )
    except OSError as error:
        raise RequestError(f"git cannot be run ({error.strerror}): name networks instead of revisions") from None


class Failed(Exception):
    """A side could not build or run a step; the message is one line."""


@dataclass(frozen=True)
class Built:
    """A step that is ready: images of a step, how long building took, and how long a step takes at least."""

    batch_size: int
    seconds: float
    step_seconds: float


class WorkerProcess:
    """A worker of one side: a process, and after whatever ends it or may have broken its GPU for it, another one."""

    def __init__(
        self, side: Side, start: Callable[[], tuple[subprocess.Popen[str], IO[str]]], answer_limit_s: float
    ) -> None:
        self.side = side
        self._start = start
        self._answer_limit_s = answer_limit_s
        self.facts: dict[str, Any] = {}  # what a reader must know of this side, once it is ready
        self.sample_s = 0.0  # how long a sample of its steps lasts
        self._begin()

    def _begin(self) -> None:
        self._process, self._log = self._start()
        self._usable = True
        # A thread reads, as not every system can wait for a pipe and a clock at once.
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(self._process, self._lines), daemon=True).start()

    def wait_until_ready(self) -> None:
        """Wait before the first question.

        Raises:
            RequestError: this side cannot serve at all.
        """
        try:
            facts = self._answer(START_LIMIT_S)
        except Failed as death:
            raise RequestError(str(death)) from None
        if "refused" in facts:
            raise RequestError(f"{self.side.label}: {first_line(facts['refused'])}")
        self.sample_s = facts.pop("sample_s")
        self.facts = facts

    def build(self, network: str, step: str, where: float | None = None) -> Built:
        """Make a step ("inference" or "train") anew, on the processor that `where` means (see `paired.SideStep`).

        Raises:
            Failed: this side cannot.
        """
        if not self._usable:
            _end(self._process)
            try:
                self._begin()
                self.wait_until_ready()
            except RequestError as error:
                self._usable = False
                raise Failed(str(error)) from None
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
            self._usable = self.facts.get("device") == "cpu"  # after an error of a GPU's, all that follows fail alike
            raise Failed(f"{self.side.label}: {first_line(reply['failed'])}")
        return reply

    def _answer(self, limit_s: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=limit_s)
        except queue.Empty:
            self._process.kill()
            self._usable = False
            raise Failed(f"{self.side.label}: no answer for {limit_s:.0f} s") from None
        if not line:
            raise Failed(self._death())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _death(self) -> str:
        self._usable = False
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        last = f"; last output: {lines[-1].strip()[:200]}" if lines else ""
        return f"{self.side.label}: its process ended with status {code}{last}"


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    assert process.stdout is not None
    with suppress(ValueError):  # it was closed
        for line in process.stdout:
            lines.put(line)
    lines.put("")


@contextmanager
def running(side: Side, answer_limit_s: float) -> Iterator[WorkerProcess]:
    """Start a worker of a side and end it afterwards in any case; it is not ready yet.

    Raises:
        RequestError: there is no such interpreter.
    """
    with ExitStack() as stack:
        yield WorkerProcess(side, lambda: stack.enter_context(_process(side)), answer_limit_s)


@contextmanager
def _process(side: Side) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """One process of a worker with its log."""
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
                yield process, log
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
        process.wait()
