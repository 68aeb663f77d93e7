"""How far a training run has come, and the learning rate that follows from it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.config import Budget
from bench.training.recipe import Schedule

# One forward pass and twice its work backward: the gradients of the inputs and of the weights.
TRAINING_PER_FORWARD = 3


def learning_rate_factor(fraction: float, warmup: float, schedule: Schedule = "cosine") -> float:
    """Share of the peak rate: linear from zero over the first `warmup` of the budget, then half a cosine to zero or 1.

    Loshchilov & Hutter 2016, arXiv:1608.03983, section 3 (cosine); Goyal et al. 2017, arXiv:1706.02677,
    section 2.2 (warm-up).
    """
    if fraction < warmup:
        return fraction / warmup
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (fraction - warmup) / (1 - warmup))))


def budget_images(budget: Budget, images_per_epoch: int, forward_flops: float) -> float:
    """How many training images a budget buys; `forward_flops` are those of one image.

    Raises:
        ValueError: it is a budget of seconds, which buy as many as the machine manages.
    """
    match budget.kind:
        case "ep":
            return budget.amount * images_per_epoch
        case "kimg":
            return budget.amount * 1e3
        case "pflop":
            return budget.amount * 1e15 / (TRAINING_PER_FORWARD * forward_flops)
        case "s":
            raise ValueError(f"{budget} buys no fixed number of images")


@dataclass
class Meter:
    """What a training run has spent, in all four currencies of a budget.

    Seconds run only between `start` and `pause`: evaluation is outside the budget.
    """

    budget: Budget
    images_per_epoch: int
    forward_flops: float  # of one image
    clock: Callable[[], float] = time.perf_counter
    images: int = 0
    _seconds: float = 0.0
    _running_since: float | None = None

    def start(self) -> None:
        self._running_since = self.clock()

    def pause(self) -> None:
        self._seconds, self._running_since = self.seconds, None

    @property
    def seconds(self) -> float:
        running = 0.0 if self._running_since is None else self.clock() - self._running_since
        return self._seconds + running

    def state(self) -> dict[str, float]:
        return {"images": self.images, "seconds": self.seconds}

    def resume(self, state: Mapping[str, float]) -> None:
        """Go on, paused, from what had been spent when `state` was taken."""
        self.images, self._seconds = int(state["images"]), state["seconds"]

    @property
    def epochs(self) -> float:
        return self.images / self.images_per_epoch

    @property
    def flops(self) -> float:
        return TRAINING_PER_FORWARD * self.forward_flops * self.images

    def fraction_after(self, batch_size: int) -> float:
        """Share of the budget spent once one more batch has been trained on; 1 or more ends the run.

        In seconds, the next batch is expected to take as long as the mean of those before it.
        """
        if self.budget.kind == "s":
            per_image = self.seconds / self.images if self.images else 0.0
            return (self.seconds + per_image * batch_size) / self.budget.amount
        return (self.images + batch_size) / budget_images(self.budget, self.images_per_epoch, self.forward_flops)
