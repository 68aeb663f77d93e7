"""A file that a data set's authors published is read only if its MD5 is theirs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench.config import RequestError


def md5_of(path: Path) -> str:
    with path.open("rb") as file:
        # Not a defence: MD5 is what the authors published.
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def require_md5(path: Path, expected: str) -> None:
    """Return if the file has this MD5.

    Raises:
        RequestError: it is missing, unreadable or another file.
    """
    try:
        actual = md5_of(path)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from error
    if actual != expected:
        raise RequestError(
            f"{path} is damaged or not the official file (MD5 {actual}, not {expected}): remove it and try again"
        )
