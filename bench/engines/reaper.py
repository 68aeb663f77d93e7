"""Imported by the fork server, which then adopts and finally kills the processes that networks leave behind.

As a child subreaper (prctl(2)), the server becomes the parent of every process that is orphaned by the death of a
worker. It ends once the main process and all workers are gone, and kills its descendants on the way out.
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


def _reap() -> None:
    """Kill all children, then the orphans that they leave, until none is left."""
    while children := list(_children()):
        for child in children:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(OSError):
                os.waitpid(child, 0)


if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
    atexit.register(_reap)
    warnings.filterwarnings("ignore", message="forkserver: waitpid returned unexpected pid")
