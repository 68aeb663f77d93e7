"""How a worker's C library treats memory that tensors give back."""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_TENSOR = 1 << 30  # bytes
_LARGEST_OF_OLD_GLIBC = 1 << 25


def keep_freed_memory() -> bool:
    """Keep what tensors free for those that follow, instead of giving it back to the system; whether that was possible.

    By default, glibc maps every large tensor anew, and the system then clears each of its pages: a quarter of the time
    of a training step on a CPU. GPUs' memory is PyTorch's own business, which does the same.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    kept = bool(mallopt(_MMAP_THRESHOLD, _LARGEST_TENSOR)) or bool(mallopt(_MMAP_THRESHOLD, _LARGEST_OF_OLD_GLIBC))
    return kept and bool(mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)) and bool(mallopt(_TOP_PAD, 1 << 26))
