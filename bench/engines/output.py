"""What a worker prints: the end of it is kept for the log and for the reason of a crash; a flood costs no space."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection

KEPT_BYTES = 1 << 16  # of each task


class Transcript:
    """The main process's end of the pipe that is a worker's standard output and standard error."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self._tail = b""
        self._dropped = 0
        self._open = True

    @property
    def open(self) -> bool:
        return self._open

    def read(self) -> None:
        """Take what is there, without waiting."""
        for _ in range(4):  # more than a pipe holds: what was there at the call is taken, an endless flood left
            if not self._open or not self.pipe.poll(0):
                return
            chunk = os.read(self.pipe.fileno(), KEPT_BYTES)
            self._open = bool(chunk)
            self._dropped += max(0, len(self._tail) + len(chunk) - KEPT_BYTES)
            self._tail = (self._tail + chunk)[-KEPT_BYTES:]

    def text(self) -> str:
        """What was printed; where it was much, its end and how much is left out."""
        left_out = f"[{self._dropped:,} bytes left out]\n" if self._dropped else ""
        return left_out + self._tail.decode("utf-8", errors="replace")

    def last_words(self) -> str:
        """The last three lines in one, shortened, without control characters."""
        lines = [line.strip() for line in self._tail.decode("utf-8", errors="replace").splitlines() if line.strip()]
        said = " / ".join(line[-200:] for line in lines[-3:])
        return "".join(character if character.isprintable() else " " for character in said)

    def forget(self) -> None:
        """Start anew, for the next task of the same worker."""
        self._tail, self._dropped = b"", 0

    def close(self) -> None:
        self.pipe.close()
        self._open = False
