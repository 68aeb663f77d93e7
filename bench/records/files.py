"""Writing files so that neither a crash nor a full disk leaves half of one behind."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path

TORN = b"\x18"  # CANCEL: marks a line that a crash cut short, so that later lines stay readable


def write_atomically(path: Path, *parts: str | bytes | memoryview) -> None:
    """Replace a file, or leave it as it was. Only one process at a time may.

    Raises:
        OSError: it cannot be written.
    """
    building = path.with_name(f"{path.name}.tmp")
    try:
        with building.open("wb") as file:
            for part in parts:
                file.write(part.encode() if isinstance(part, str) else part)
            file.flush()
            os.fsync(file.fileno())
        building.replace(path)
    except BaseException:
        with suppress(OSError):
            building.unlink(missing_ok=True)
        raise


def append_whole(file: io.FileIO, data: bytes) -> None:
    """Append and wait until it is on the disk, all of it or nothing."""
    end = file.seek(0, os.SEEK_END)
    try:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            file.truncate(end)
        raise


def end_torn_line(file: io.FileIO) -> None:
    """Close a last line that has no newline, so that the next record starts on a line of its own."""
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        append_whole(file, TORN + b"\n")
