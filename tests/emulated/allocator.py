"""An allocator that books every storage of the process, in blocks, and can be full."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor

from bench.device.accelerator import MemoryUse

BLOCK, SEGMENT = 512, 2 << 20  # bytes: what a tensor gets, and what is reserved from the device at a time


def _whole(size: int, blocks_of: int) -> int:
    return -(-size // blocks_of) * blocks_of


class Allocator:
    """`bench.device.accelerator.Memory` of a device with `total` bytes."""

    def __init__(self, total: int) -> None:
        self.total = self._allowed = total
        self._sizes: dict[int, tuple[int, weakref.ref[Any]]] = {}  # by the storage's address
        self._held = self._requested = self._reserved = 0
        self._most = MemoryUse(0, 0, 0)

    @property
    def free(self) -> int:
        return self.total - self._reserved

    def book(self, tensor: Tensor) -> None:
        """Give a new tensor its block.

        Raises:
            OutOfMemoryError: there is none.
        """
        storage = tensor.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        if address in self._sizes or size == 0:
            return
        if self._held + _whole(size, BLOCK) > self._allowed:
            raise torch.OutOfMemoryError(f"Emulated out of memory. Tried to allocate {size / 2**20:.2f} MiB.")
        self._sizes[address] = size, weakref.ref(storage, lambda _: self._drop(address))
        self._change(size, 1)

    def _drop(self, address: int) -> None:
        self._change(self._sizes.pop(address)[0], -1)

    def _change(self, size: int, sign: int) -> None:
        self._held += sign * _whole(size, BLOCK)
        self._requested += sign * size
        self._reserved = max(self._reserved, _whole(self._held, SEGMENT))
        now, most = self.now(), self._most
        self._most = MemoryUse(
            max(now.held, most.held), max(now.reserved, most.reserved), max(now.requested, most.requested)
        )

    def now(self) -> MemoryUse:
        return MemoryUse(self._held, self._reserved, self._requested)

    def most(self) -> MemoryUse:
        return self._most

    def reset(self) -> None:
        self._most = self.now()

    def release(self) -> None:
        self._reserved = _whole(self._held, SEGMENT)

    def limit(self, allowed: int | None) -> bool:
        self._allowed = self.total if allowed is None else allowed
        return True
