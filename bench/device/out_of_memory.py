"""Telling real exhaustion of memory from every other error, and trying again with a smaller batch."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from bench.device import accelerator

Result = TypeVar("Result")

_IN_OTHER_WORDS = ("can't allocate memory", "CUDA error: out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU's allocator has no error of its own, nor has what takes a GPU's memory without asking PyTorch's allocator,
    # such as a CUDA graph that is made ready. The text is all there is to go by.
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _IN_OTHER_WORDS)


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
    gc.collect()
    memory = accelerator.chosen().memory
    if memory is not None:
        memory.release()
