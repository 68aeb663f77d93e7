"""The verbs of the command line: of each, a dataclass whose fields are the flags, and a function that does it.

What several share is here. Everything heavy is imported inside those functions: `--help` and `report` work without
torch.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.config import RequestError
from bench.engines import INTERRUPTED
from bench.records.run_folder import write_atomically

PROG = "python -m bench"

# Exit statuses, besides INTERRUPTED. GATE_*: --fail-on found something worse, or with --fail-on-unclear cannot tell.
OK, SOME_FAILED, BAD_REQUEST, GATE_WORSE, GATE_UNCLEAR = 0, 1, 2, 3, 4

__all__ = ["BAD_REQUEST", "GATE_UNCLEAR", "GATE_WORSE", "INTERRUPTED", "OK", "PROG", "SOME_FAILED"]


def say(line: str) -> None:
    """Print to standard error, which leaves standard output to the result."""
    print(line, file=sys.stderr)


def with_suffix(flag: str, path: Path, suffix: str) -> Path:
    """The path, if its name says what will be written there.

    Raises:
        RequestError: the name ends in something else.
    """
    if path.suffix.lower() != suffix:
        raise RequestError(f"{flag} {path}: writes {suffix[1:].upper()}: choose a name that ends in {suffix}")
    return path


def in_a_folder(flag: str, path: Path) -> Path:
    """The path, if there is a folder for it: what takes long to make must not be found to have no place.

    Raises:
        RequestError: there is none.
    """
    if not (folder := path.absolute().parent).is_dir():
        raise RequestError(f"{flag}: cannot write {path}: there is no folder {folder}")
    return path


def write(flag: str, path: Path, text: str) -> None:
    """Write what a flag asks for into the file that it names.

    Raises:
        RequestError: it cannot be written.
    """
    try:
        write_atomically(path, text)
    except OSError as error:
        raise RequestError(f"{flag}: cannot write {path}: {error.strerror}") from None


def refuse_for_registry(names: Sequence[str], input_size: str | None, num_classes: int | None) -> None:
    """Refuse flags that change nothing where all networks (or globs) are of the registry, which fixes both itself.

    Raises:
        RequestError: one was given with such networks only.
    """
    from bench.models import REGISTRY

    for flag, value in (("--input-size", input_size), ("--num-classes", num_classes)):
        if value is not None and names and all(fnmatch.filter(REGISTRY, name) for name in names):
            known = REGISTRY.get(names[0])
            why = "every network of the registry says its own"
            if known is not None:
                size = "x".join(map(str, known.input_size))
                why = f"{known.name} takes {size} and has {known.num_classes} classes"
            raise RequestError(f"{flag} {value} changes nothing: {why}; leave {flag} out")
