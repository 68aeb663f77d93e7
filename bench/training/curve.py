"""The training curve: what was spent, the loss and the accuracy, point by point."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bench.training.schedule import TRAINING_PER_FORWARD, Meter

CURVE_POINTS = 20  # at most so many, evenly over the budget, besides the end of every epoch
CURVE_TEST_IMAGES = 1000  # of a test on the way, the same ones each time; the last test takes all
CURVE_TEST_SHARE = 0.05  # of the work of training is the most that tests on the way may add
TAIL = 0.1  # of the budget: the final loss is the mean over it


class Diverged(Exception):
    """The loss is no longer a number; the message says when."""


@dataclass(frozen=True)
class CurvePoint:
    """A row of the training curve: what was spent, the mean loss since the last row, the accuracy if tested."""

    images: int
    seconds: float
    flops: float
    epoch: float
    train_loss: float
    test_top1: float | None


class History:
    """Collects losses on the device and turns them into curve points, without waiting for the device in between."""

    def __init__(self, meter: Meter, test_images: int, every: int | None = None) -> None:
        """`test_images`: how many a test takes. `every`: steps between points, beside those at the end of epochs and at
        twentieths of the budget."""
        self.points: list[CurvePoint] = []
        self.fraction = 0.0  # of the budget
        self._meter = meter
        self._test_images = test_images
        self._every = every
        self._since_point: list[Tensor] = []
        self._tail: deque[tuple[float, Tensor]] = deque()  # (fraction, loss) over the last tenth of the budget
        self._epoch_ended = False
        self._tested_at = 0.0  # fraction
        self._epoch_tested_at = 0.0  # fraction, at the end of an epoch
        self._images_at_test = 0

    def note(self, loss: Tensor, fraction: float, batch_size: int) -> bool:
        """Keep the loss of a step that led to `fraction`; whether a point of the curve is due."""
        self._since_point.append(loss)
        self._tail.append((fraction, loss))
        while self._tail[0][0] < fraction - TAIL:
            self._tail.popleft()
        before, self.fraction = self.fraction, fraction
        self._epoch_ended = _crossed(self._meter.epochs, batch_size / self._meter.images_per_epoch)
        regular = self._every is not None and self._meter.images % (self._every * batch_size) == 0
        return self._epoch_ended or regular or _crossed(fraction * CURVE_POINTS, (fraction - before) * CURVE_POINTS)

    def test_due(self) -> bool:
        """Whether to test at this point: at the ends of epochs, till the first of them at twentieths of the budget too,
        both no closer to the last of their kind than a twentieth; and only once so many images were trained on since
        the last test that it costs at most `CURVE_TEST_SHARE` of that. The end of the budget is tested anyway."""
        trained = self._meter.images - self._images_at_test
        if self.fraction >= 1 or self._test_images > CURVE_TEST_SHARE * TRAINING_PER_FORWARD * trained:
            return False
        step = 1 / CURVE_POINTS - 1e-9
        if self._epoch_ended and self.fraction - self._epoch_tested_at >= step:
            self._epoch_tested_at = self.fraction
        elif self._meter.epochs >= 1 or self.fraction - self._tested_at < step:
            return False
        self._tested_at, self._images_at_test = self.fraction, self._meter.images
        return True

    def add_point(self, top1: float | None) -> None:
        """Close a stretch of steps; the device has been waited for.

        Raises:
            Diverged: its mean loss is infinite or not a number.
        """
        meter = self._meter
        if not self._since_point:  # the last step closed a stretch already
            self.points[-1] = replace(self.points[-1], test_top1=top1)
            return
        loss = _mean(self._since_point)
        self._since_point.clear()
        if not math.isfinite(loss):
            raise Diverged(f"the training loss was {loss} after {meter.images} images")
        self.points.append(CurvePoint(meter.images, meter.seconds, meter.flops, meter.epochs, loss, top1))

    def final_loss(self) -> float:
        return _mean([loss for _, loss in self._tail])

    def state(self) -> dict[str, Any]:
        """Right after a point."""
        return {
            "points": [asdict(point) for point in self.points],
            "tail_fractions": [fraction for fraction, _ in self._tail],
            "tail_losses": torch.stack([loss for _, loss in self._tail]),
            "fraction": self.fraction,
            "tested_at": (self._tested_at, self._epoch_tested_at, self._images_at_test),
        }

    def resume(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on as the history whose `state` this was; losses to come are on `device`."""
        self.points = [CurvePoint(**point) for point in state["points"]]
        self._tail = deque(zip(state["tail_fractions"], state["tail_losses"].to(device).unbind(), strict=True))
        self.fraction = state["fraction"]
        self._tested_at, self._epoch_tested_at, self._images_at_test = state["tested_at"]


def _crossed(position: float, step: float) -> bool:
    """Whether the last `step` that led to `position` passed a whole number; exact multiples count as passed."""
    return math.floor(position + 1e-9) > math.floor(position - step + 1e-9)


def _mean(losses: list[Tensor]) -> float:
    return torch.stack(losses).float().mean().item()


CURRENCIES = ("seconds", "images", "flops")


def spent_to_reach(curve: Sequence[CurvePoint], top1: float) -> dict[str, float] | None:
    """By currency, on the straight line between the first test at or above `top1` and the test before it.

    Where the very first test is at or above it, what had been spent by then: nobody looked earlier. None where no test
    is.
    """
    before: tuple[float, dict[str, float]] | None = None
    for point in curve:
        if point.test_top1 is None:
            continue
        spent = {"seconds": point.seconds, "images": float(point.images), "flops": point.flops}
        if point.test_top1 < top1:
            before = point.test_top1, spent
        elif before is None:
            return spent
        else:
            lower, start = before
            share = (top1 - lower) / (point.test_top1 - lower)
            return {currency: start[currency] + share * (spent[currency] - start[currency]) for currency in CURRENCIES}
    return None
