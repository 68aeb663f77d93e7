"""How far a training has come: what it has spent, the learning rate that follows from that, and its curve.

The curve is loss and accuracy, point by point; as TensorBoard events too, beside the Parquet files that hold the same.
"""

from __future__ import annotations

import importlib.util
import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.config import Budget, RequestError
from bench.training.recipes import Schedule

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


class CurveRecorder:
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
        """Go on as the recorder whose `state` this was; losses to come are on `device`."""
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


def require_tensorboard() -> None:
    """
    Raises:
        RequestError: the package is missing.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise RequestError(
            "--tensorboard needs TensorBoard, which is not installed: pip install 'tensorboard>=2.16,<3'"
        )


def write_events(curve: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Loss and accuracy over images, in place of events that were there before.

    TensorBoard's relative time is the seconds of training.
    """
    from torch.utils.tensorboard import SummaryWriter  # imports TensorBoard, an extra

    shutil.rmtree(folder, ignore_errors=True)
    began = time.time() - curve[-1]["seconds"]
    with SummaryWriter(str(folder)) as writer:
        for point in curve:
            for tag, value in (("loss/train", point["train_loss"]), ("accuracy/test", point["test_top1"])):
                if value is not None:
                    writer.add_scalar(tag, value, point["images"], walltime=began + point["seconds"])
