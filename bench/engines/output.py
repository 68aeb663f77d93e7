"""What a worker prints: the end of it is kept for the log and for the reason of a crash; a flood costs no space."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection

KEPT_BYTES = 1 << 16  # of each task


class CapturedOutput:
    """The main process's end of the pipe that is a worker's standard output and standard error."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.open = True
        self._end = b""
        self._dropped = 0

    def read(self) -> None:
        """Take what is there, without waiting."""
        for _ in range(4):  # more than a pipe holds: takes all that was there at the call, but no endless flood
            if not self.open or not self.pipe.poll(0):
                return
            chunk = os.read(self.pipe.fileno(), KEPT_BYTES)
            self.open = bool(chunk)
            self._dropped += max(0, len(self._end) + len(chunk) - KEPT_BYTES)
            self._end = (self._end + chunk)[-KEPT_BYTES:]

    def text(self) -> str:
        """What was printed; if it was too much, its end and how much is left out."""
        left_out = f"[{self._dropped:,} bytes left out]\n" if self._dropped else ""
        return left_out + self._end.decode("utf-8", errors="replace")

    def tail(self) -> str:
        """The last three lines as one, shortened, without control characters."""
        lines = [line.strip() for line in self._end.decode("utf-8", errors="replace").splitlines() if line.strip()]
        tail = " / ".join(line[-200:] for line in lines[-3:])
        return "".join(character if character.isprintable() else " " for character in tail)

    def clear(self) -> None:
        """Start anew, for the next task of the same worker."""
        self._end, self._dropped = b"", 0

    def close(self) -> None:
        self.pipe.close()
        self.open = False
