"""What a worker prints: the end of it is kept for the log and for the reason of a crash; a flood costs no space."""

from __future__ import annotations

import os
import sys
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
            chunk = _next_chunk(self.pipe)
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


def _next_chunk(pipe: Connection) -> bytes:
    """What can be read at once; nothing at the end."""
    if sys.platform != "win32":
        chunk = os.read(pipe.fileno(), KEPT_BYTES)
    else:
        try:  # a pipe is no file there, and each write to it is a message
            chunk = pipe.recv_bytes()
        except (EOFError, OSError):
            chunk = b""
    return chunk


def print_to(pipe: Connection) -> None:
    """Make a pipe the standard output and standard error of this process."""
    if sys.platform == "win32":
        import msvcrt

        number = msvcrt.open_osfhandle(pipe.fileno(), os.O_WRONLY)
    else:
        number = pipe.fileno()
    os.dup2(number, 1)
    os.dup2(number, 2)
    # Line-buffered, so that a worker that dies loses no output.
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, encoding="utf-8", errors="replace") for n in (1, 2))
