"""Telling real exhaustion of memory from every other error, and trying again with a smaller batch."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable
from typing import TypeVar

import torch

from bench.device import accelerator

Result = TypeVar("Result")

# Of the CPU's allocator, which has no error of its own, and of what takes a device's memory without asking PyTorch's
# allocator: the driver, cuBLAS, cuDNN, XPU, a graph that is made ready. The text is all there is to go by.
_IN_OTHER_WORDS = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED", "OUT_OF_DEVICE_MEMORY")
# cuDNN tries its kernels one after the other, and says so little where no workspace was to be had (pytorch#108645).
_WHERE_LITTLE_IS_FREE = ("unable to find an engine", "Unable to find a valid cuDNN algorithm")
LITTLE = 1 / 4  # of the device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this or what it came from is lack of memory: the end of a failed capture hides why it has failed."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, RuntimeError):
        if any(text in str(error) for text in _IN_OTHER_WORDS):
            return True
        if any(text in str(error) for text in _WHERE_LITTLE_IS_FREE):
            memory = accelerator.chosen().memory
            return memory is not None and memory.free < LITTLE * memory.total
    before = error.__cause__ or error.__context__
    return before is not None and is_out_of_memory(before)


def with_batch_that_fits(attempt: Callable[[int], Result], batch_size: int) -> tuple[Result, int]:
    """`attempt(batch_size)`, halving the batch as long as memory does not suffice: the result and the batch used.

    Raises:
        Exception: whatever `attempt` raises for any other reason, or for lack of memory at a batch of one.
    """
    while True:
        try:
            return attempt(batch_size), batch_size
        except Exception as error:
            if not is_out_of_memory(error) or batch_size == 1:
                raise
        release_memory()  # outside of the handler, where the error still holds every tensor of the attempt
        batch_size //= 2


def release_memory() -> None:
    """Give back what nothing refers to any more, so that the next network starts as the first did."""
    if "torch._dynamo" in sys.modules:  # it keeps what it has compiled, and graphs that it has recorded of that
        torch.compiler.reset()
    gc.collect()
    memory = accelerator.chosen().memory
    if memory is not None:
        with contextlib.suppress(RuntimeError):  # of a device that is lost: whoever uses it next finds out
            memory.release()
