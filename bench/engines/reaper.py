"""Imported by the fork server, which then adopts and finally kills the processes that networks leave behind.

As a child subreaper (prctl(2)), the server becomes the parent of every process that is orphaned by the death of a
worker. It ends once the main process and all workers are gone, and kills its descendants on the way out.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import warnings

import psutil

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def _reap() -> None:
    """Kill all children, then the orphans that they leave, until none is left."""
    while children := psutil.Process().children():
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(children)


if psutil.LINUX and ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
    atexit.register(_reap)
    warnings.filterwarnings("ignore", message="forkserver: waitpid returned unexpected pid")
