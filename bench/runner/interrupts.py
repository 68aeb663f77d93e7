"""Ctrl-C and SIGTERM, which clusters and containers send: the first asks a run to stop, the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing import Pipe
from types import FrameType, TracebackType

INTERRUPTED = 130  # exit status
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h"  # a live display hides it


class Interrupts:
    """A context in which the first signal only sets `requested`, so that no write is cut off in the middle.

    The second signal ends the process at once, and its workers with it.
    """

    def __init__(self) -> None:
        self.requested = False

    def fileno(self) -> int:
        """Readable once `requested`, so that it can be waited for."""
        return self._wake.fileno()

    def __enter__(self) -> Interrupts:
        self._wake, self._ring = Pipe(duplex=False)  # one that can be waited for on any system
        self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._wake.close()
        self._ring.close()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            os.write(2, _SHOW_CURSOR if sys.stderr.isatty() else b"")
            os.write(2, b"\nended at once; what was measured before is kept\n")
            os._exit(INTERRUPTED)
        self.requested = True
        self._ring.send_bytes(b"!")
