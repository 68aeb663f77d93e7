"""Imported by the server from which workers are forked: it takes in whatever a network started and left behind.

When the server ends, which it does as soon as the main process and all workers are gone, it kills every process that
descends from it. A process that a worker's death makes an orphan becomes its child.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def _children() -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # pid (name, which may hold anything) state parent ...
            parent = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
            if parent == os.getpid():
                yield int(stat.parent.name)


def _bury() -> None:
    """Kill all children, then the orphans that this makes, until none is left."""
    while children := list(_children()):
        for child in children:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(OSError):
                os.waitpid(child, 0)


if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
    atexit.register(_bury)
    warnings.filterwarnings("ignore", message="forkserver: waitpid returned unexpected pid")
