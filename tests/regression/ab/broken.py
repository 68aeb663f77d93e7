"""Networks that build and cannot run, for tests of what goes wrong in a worker."""

import os
import sys

from torch import Tensor, nn


class Broken(nn.Module):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.head = nn.Linear(3, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("this network cannot run")


class Fatal(Broken):
    def forward(self, x: Tensor) -> Tensor:
        print("gone", file=sys.stderr, flush=True)
        os._exit(3)
