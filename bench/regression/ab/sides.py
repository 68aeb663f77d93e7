"""What A and B are: networks, revisions, Python environments or flags, as two `Side`s and the steps to compare."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.config import RequestError

ROOT = Path(__file__).resolve().parents[3]
WORKING_TREE = "."


@dataclass(frozen=True)
class Side:
    """Everything that one worker process needs."""

    label: str
    python: str  # the interpreter
    tree: Path  # the checkout whose bench/ and models/ it runs
    flags: tuple[str, ...]  # as `all` knows them


@dataclass(frozen=True)
class Asked:
    """One side as typed."""

    letter: str  # "A" or "B"
    name: str | None  # a network, a revision, or nothing
    python: Path | None
    flags: str


def split_flags(letter: str, word: str) -> tuple[str, ...]:
    """The flags of one side as a shell would split them.

    Raises:
        RequestError: a quote is left open.
    """
    try:
        return tuple(shlex.split(word))
    except ValueError as error:
        raise RequestError(f"--{letter.lower()} {word!r}: {error}") from None


def revision_of(name: str) -> str | None:
    """The commit that a name stands for in this checkout; None if it stands for none."""
    if name.startswith("-"):
        return None
    done = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    return done.stdout.strip() if done.returncode == 0 else None


@contextmanager
def sides(asked: Sequence[Asked], common_flags: Sequence[str], are_revisions: bool) -> Iterator[tuple[Side, ...]]:
    """Each side ready to start; revisions are checked out in worktrees that are gone afterwards.

    Raises:
        RequestError: a revision does not exist, or git cannot check it out.
    """
    with contextlib.ExitStack() as stack:
        found = []
        for one in asked:
            side = Side(
                label=_label(one, are_revisions),
                # Not resolved: the python of a virtual environment is a link whose place says which it is.
                python=str(one.python.absolute()) if one.python else sys.executable,
                tree=ROOT,
                flags=(*common_flags, *split_flags(one.letter, one.flags)),
            )
            if are_revisions and one.name != WORKING_TREE:
                assert one.name is not None
                side = replace(side, tree=stack.enter_context(_worktree(one.name)))
            found.append(side)
        yield tuple(found)


def _label(one: Asked, are_revisions: bool) -> str:
    """ "A (v1.2, --precision bf16)": whatever sets this side apart."""
    words = [
        one.name if one.name != WORKING_TREE or not are_revisions else "working tree",
        str(one.python) if one.python else None,
        one.flags or None,
    ]
    said = ", ".join(word for word in words if word)
    return f"{one.letter} ({said})" if said else one.letter


@contextmanager
def _worktree(name: str) -> Iterator[Path]:
    commit = revision_of(name)
    if commit is None:
        raise RequestError(f"{name!r} is neither a network nor a revision of this repository")
    with tempfile.TemporaryDirectory(prefix="bench-ab-") as folder:
        tree = Path(folder).resolve() / "tree"
        done = _git("worktree", "add", "--detach", "--force", str(tree), commit)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise RequestError(f"git cannot check out {name}: {said}")
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    except OSError as error:
        raise RequestError(f"git cannot be run ({error.strerror}): name networks instead of revisions") from None
