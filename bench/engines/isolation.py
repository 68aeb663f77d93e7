"""What a worker process does to itself: it ends with the run, stays within its memory, and reuses what it frees.

Imports nothing of `bench`, and psutil only where it is needed: `ab` loads this file by its path into processes that run
other revisions, in environments of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_TENSOR = 1 << 30  # bytes
_LARGEST_OF_OLD_GLIBC = 1 << 25


def die_with_main_process() -> None:
    """Become the leader of a process group that is killed once the main process is gone, however it ended.

    The main process holds the writing end of a pipe. When that end closes, Linux sends SIGKILL to the whole group. No
    code of the group has to run for that, so a loop that never returns to the interpreter ends too, and so do processes
    that a network has started. Other systems do not, and a thread waits for it.
    """
    if hasattr(os, "setsid"):
        os.setsid()
    main = multiprocessing.parent_process()
    if main is None:
        return
    if not hasattr(fcntl, "F_SETSIG"):
        threading.Thread(target=_follow, args=(main,), daemon=True).start()
        return
    pipe = main.sentinel
    fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if not main.is_alive():  # it ended before the signal was set up
        os.killpg(0, signal.SIGKILL)


def _follow(main: BaseProcess) -> None:
    main.join()
    kill_with_descendants(os.getpid())


def spin_briefly() -> None:
    """Let idle OpenMP threads of processes to come, or of this one if torch is not loaded yet, soon go to sleep.

    With libgomp's default (300,000 rounds, milliseconds) two threads are twenty times slower as soon as anything else
    runs; this is as fast on an idle machine, and sleeping sooner costs small networks a sixth of their speed.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def kill_with_descendants(leader: int) -> None:
    """Kill a worker and whatever is left of its process group or, on a system without any, of its descendants."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
        return
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        worker = psutil.Process(leader)
        for process in (*worker.children(recursive=True), worker):
            with contextlib.suppress(psutil.Error):
                process.kill()


def limit_memory(limit_bytes: int) -> None:
    """Make allocations fail in this process once it holds `limit_bytes` more than it does now; only Linux can.

    The limit counts private writable memory (RLIMIT_DATA), not reserved address space: CUDA reserves more than any
    machine has.
    """
    import psutil

    if not psutil.LINUX:
        return
    this = psutil.Process()
    _, most = this.rlimit(psutil.RLIMIT_DATA)
    wanted = this.memory_info().data + limit_bytes
    this.rlimit(psutil.RLIMIT_DATA, (wanted if most == psutil.RLIM_INFINITY else min(wanted, most), most))


def be_killed_first() -> None:
    """Let the system kill this process rather than the main one when the machine runs out of memory."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def available_memory() -> int:
    """Bytes that can be allocated now without swapping, on this machine and in its control group."""
    import psutil

    known = [int(psutil.virtual_memory().available)]
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max", no limit
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text(encoding="ascii"))
        known.append(most - int((group / "memory.current").read_text(encoding="ascii")))
    return min(known)


def keep_freed_memory() -> bool:
    """Keep freed memory in the process for the next tensor; returns whether the C library can do that.

    By default, glibc maps memory anew for every large tensor and the kernel clears each page, which takes a quarter of
    a training step on a CPU. On GPUs PyTorch's own allocator keeps what is freed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; TypeError: Windows
        return False
    kept = bool(mallopt(_MMAP_THRESHOLD, _LARGEST_TENSOR)) or bool(mallopt(_MMAP_THRESHOLD, _LARGEST_OF_OLD_GLIBC))
    return kept and bool(mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)) and bool(mallopt(_TOP_PAD, 1 << 26))
