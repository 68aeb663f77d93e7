"""A file that others published is read only if its checksum is theirs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from bench.config import RequestError


@dataclass(frozen=True)
class Checksum:
    """As published: an MD5, or the first digits of a SHA-256, which is how torchvision names its weights."""

    kind: Literal["MD5", "SHA-256"]
    digits: str  # hexadecimal

    def of(self, source: Path | BytesIO) -> str:
        """As many digits of a file's, or of a file in memory."""
        with source.open("rb") if isinstance(source, Path) else source as file:
            # Not a defence: MD5 is what the authors of data sets published.
            make = (lambda: hashlib.md5(usedforsecurity=False)) if self.kind == "MD5" else hashlib.sha256
            return hashlib.file_digest(file, make).hexdigest()[: len(self.digits)]


def read_checked(path: Path, expected: Checksum) -> bytes:
    """The contents of a file that has this checksum: what was checked is what is used, whatever becomes of the file.

    Raises:
        RequestError: it is missing, unreadable or another file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from error
    _require(path, expected.of(BytesIO(data)), expected)
    return data


def require_checksum(path: Path, expected: Checksum) -> None:
    """Return if the file has this checksum.

    Raises:
        RequestError: it is missing, unreadable or another file.
    """
    try:
        actual = expected.of(path)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from error
    _require(path, actual, expected)


def _require(path: Path, actual: str, expected: Checksum) -> None:
    if actual != expected.digits:
        raise RequestError(
            f"{path} is damaged or not the official file ({expected.kind} {actual}, not {expected.digits}): "
            "remove it and try again"
        )
