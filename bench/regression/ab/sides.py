"""What A and B are: networks, revisions, Python environments or flags, each as a `Side` that a worker can run."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.config import RequestError

SUITE = Path(__file__).resolve().parents[3]  # the checkout or installation that this process runs
WORKING_TREE = "."


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
    """A git repository whose revisions can be compared: the suite's own, or that of whoever develops a network."""

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
                yield tree
            finally:
                _git(self.root, "worktree", "remove", "--force", str(tree))

    def _commit(self, revision: str) -> str | None:
        if revision.startswith("-"):
            return None
        done = _git(self.root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        return done.stdout.strip() if done.returncode == 0 else None


def repository() -> Repository | None:
    """The repository of the current folder, else the one that the suite itself is a checkout of; None: neither is."""
    for folder in (Path.cwd(), SUITE):
        done = _git(folder, "rev-parse", "--show-toplevel", "--show-prefix")
        if done.returncode == 0:
            root, subfolder = done.stdout.split("\n")[:2]
            return Repository(Path(root).resolve(), subfolder)
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
    parts = ", ".join(part for part in (name, str(one.python or ""), one.flags) if part)
    return f"{one.letter} ({parts})" if parts else one.letter


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except OSError as error:
        raise RequestError(f"git cannot be run ({error.strerror}): name networks instead of revisions") from None
