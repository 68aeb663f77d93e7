"""Networks that misbehave as soon as they compute, each in its own way."""

from __future__ import annotations

import ctypes
import os
import time

from torch import Tensor, nn


class Good(nn.Module):
    """Mean over the pixels, linear; before that `misbehave`, which does nothing here."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.fc = nn.Linear(3, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        self.misbehave()
        return self.fc(x.mean((2, 3)))

    def misbehave(self) -> None:
        pass


class Exits(Good):
    def misbehave(self) -> None:
        os._exit(3)


class Raises(Good):
    def misbehave(self) -> None:
        raise RuntimeError("no such layer\nsecond line")


class Segfaults(Good):
    def misbehave(self) -> None:
        ctypes.string_at(0)


class Hangs(Good):
    def misbehave(self) -> None:
        time.sleep(3600)


class TakesAllMemory(Good):
    def misbehave(self) -> None:
        hoard = []
        while True:
            hoard.append(bytearray(1 << 26))


class PrintsWithoutEnd(Good):
    """100 MB, once."""

    said = False

    def misbehave(self) -> None:
        if not PrintsWithoutEnd.said:
            PrintsWithoutEnd.said = True
            for _ in range(100):
                print("x" * 1_000_000)


class ReturnsNan(Good):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * float("nan")
