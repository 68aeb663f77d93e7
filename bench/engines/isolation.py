"""What a worker process does to itself so that it cannot outlive the run or take the whole memory of the machine."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import resource
import signal
import sys
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def die_with_main_process() -> None:
    """Lead a process group of one's own that the kernel kills when the main process is gone, however it ended.

    The main process holds the other end of a pipe. That the pipe lost its writer is told by a signal to the whole
    group, and the signal is SIGKILL: nothing in the group needs to run, so that a loop that never returns to the
    interpreter ends too, and so do the processes that a network has started.
    """
    os.setsid()
    main = multiprocessing.parent_process()
    if main is None or sys.platform != "linux":
        return
    pipe = main.sentinel
    fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if not main.is_alive():  # it ended before the signal was arranged
        os.killpg(0, signal.SIGKILL)


def kill_family(leader: int) -> None:
    """Kill a worker and every process of its group that is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def limit_memory(limit_bytes: int) -> None:
    """From here on an allocation beyond `limit_bytes` more than now fails in this process, and only in this one.

    Counted is what the process could write to and shares with nobody (RLIMIT_DATA). Address space that is only
    reserved is not: CUDA reserves more than any machine has.
    """
    if sys.platform != "linux":
        return
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * _PAGE
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + limit_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def be_killed_first() -> None:
    """Where the memory of the whole machine runs out, let the system choose this process and not the main one."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def available_memory() -> int | None:
    """Bytes that may be taken now without swapping, by the machine and by this process's control group."""
    known = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        known += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max", no limit
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text(encoding="ascii"))
        known.append(most - int((group / "memory.current").read_text(encoding="ascii")))
    return min(known, default=None)
