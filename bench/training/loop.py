"""Train one network until its budget is spent, then test it once."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.config import Budget, Execution
from bench.data.batches import Split, evaluation_batches, training_batches
from bench.data.image_set import ImageSet
from bench.execution import autocast, memory_format, synchronise
from bench.training.loss import logits
from bench.training.recipes import Recipe, make_optimizer
from bench.training.schedule import Meter, learning_rate_factor
from bench.training.step import TrainingStep

CURVE_POINTS = 20  # at most so many, evenly over the budget, besides the end of every epoch
EVALUATION_BATCH = {"cpu": 50, "cuda": 500}  # fits a cache, fills a GPU
SETTLING_BATCHES = 8  # of the training batch size


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


@dataclass(frozen=True)
class Outcome:
    top1: float
    tested: int
    spent: Meter
    final_loss: float  # mean over the last tenth of the budget
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class Images:
    """Both splits on the device, and what is needed to make batches of them."""

    image_set: ImageSet
    train: Split
    test: Split
    input_size: tuple[int, int, int]  # of the network: (channels, height, width)


def train(
    network: nn.Module,
    recipe: Recipe,
    budget: Budget,
    images: Images,
    batch_size: int,
    forward_flops: float,
    seed: int,
    execution: Execution = Execution(),
) -> Outcome:
    """Train `network` from its present weights and test it at the end of the budget.

    The learning rate is a function of the share of the budget spent, so every kind of budget ends with a finished
    schedule. The clock stops for evaluation, and starts after one-time costs (`_warm_up`).
    `forward_flops` are those of one image; `seed` decides shuffling and augmentation.

    Raises:
        Diverged: the loss became infinite or not a number.
    """
    device = images.train.images.device
    rate = recipe.rate_at(batch_size)
    _warm_up(network, recipe, images, batch_size, execution)
    optimizer = make_optimizer(recipe, network.parameters(), rate)
    step = TrainingStep(network, optimizer, recipe, execution)
    batches = training_batches(
        images.train,
        images.image_set,
        images.input_size,
        batch_size,
        torch.Generator(device).manual_seed(seed),
        memory_format=memory_format(execution),
    )
    meter = Meter(budget, len(images.train.labels), forward_flops)
    pace = _Pace(device, in_step=budget.kind == "s")
    history = _History(meter)
    fraction = 0.0

    network.train()
    meter.start()
    while (upcoming := meter.fraction_after(batch_size)) <= 1 or meter.images == 0:
        # The rate for a batch is that of the middle of the share of the budget which it spends.
        factor = learning_rate_factor((fraction + min(upcoming, 1.0)) / 2, recipe.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        loss = step(*next(batches))
        meter.images += batch_size
        fraction = upcoming
        pace.keep()
        if history.due(loss, fraction, batch_size):
            synchronise(device)
            meter.pause()
            top1 = evaluate(network, images, execution)[0] if history.test_due(fraction) else None
            history.add_point(top1)
            network.train()
            meter.start()
    synchronise(device)
    meter.pause()
    settle_batch_norm(network, batches, execution)
    top1, tested = evaluate(network, images, execution)
    history.add_point(top1)
    return Outcome(top1, tested, meter, history.final_loss(), tuple(history.points))


def settle_batch_norm(
    network: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], execution: Execution = Execution()
) -> None:
    """Replace the running statistics of batch norm by the mean over a few training batches.

    Running averages need some fifty steps to forget their start and lag behind weights that move fast, so after a
    short budget they would test the statistics and not the weights (Wu & Johnson 2021, arXiv:2105.07576, section 3).
    Everything but batch norm runs as it will be tested: without dropout, and with all paths and blocks in place.
    Every network with batch norm gets the same; it is part of testing and outside the budget.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches that follow
    network.eval()
    for norm in norms:
        norm.train()
    with torch.no_grad():
        for images, _ in itertools.islice(batches, SETTLING_BATCHES):
            with autocast(execution, images.device):
                network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def evaluate(network: nn.Module, images: Images, execution: Execution = Execution()) -> tuple[float, int]:
    """Share of the test images whose largest logit is the right one, and how many were tested."""
    network.eval()
    device = images.test.labels.device
    batch_size = EVALUATION_BATCH[device.type]
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode():
        for x, labels in evaluation_batches(
            images.test, images.image_set, images.input_size, batch_size, memory_format=memory_format(execution)
        ):
            with autocast(execution, device):
                output = network(x)
            correct += (logits(output).argmax(1) == labels).sum()
    tested = len(images.test.labels)
    return correct.item() / tested, tested


class _History:
    """Collects losses on the device and turns them into curve points, without waiting for the device in between."""

    def __init__(self, meter: Meter) -> None:
        self.points: list[CurvePoint] = []
        self._meter = meter
        self._since_point: list[Tensor] = []
        self._tail: deque[tuple[float, Tensor]] = deque()  # (fraction, loss) over the last tenth of the budget
        self._fraction = 0.0
        self._tested_at = 0.0  # fraction

    def due(self, loss: Tensor, fraction: float, batch_size: int) -> bool:
        """Note the loss of a step; whether it ended an epoch or a twentieth of the budget."""
        self._since_point.append(loss)
        self._tail.append((fraction, loss))
        while self._tail[0][0] < fraction - 0.1:
            self._tail.popleft()
        before, self._fraction = self._fraction, fraction
        self._epoch_ended = self._crossed(self._meter.epochs, batch_size / self._meter.images_per_epoch)
        return self._epoch_ended or self._crossed(fraction * CURVE_POINTS, (fraction - before) * CURVE_POINTS)

    def test_due(self, fraction: float) -> bool:
        """Whether to test now: at the end of an epoch, but no more often than every twentieth of the budget."""
        if not self._epoch_ended or fraction - self._tested_at < 1 / CURVE_POINTS or fraction >= 1:
            return False
        self._tested_at = fraction
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

    @staticmethod
    def _crossed(position: float, step: float) -> bool:
        """Whether the last `step` that led to `position` passed a whole number; exact multiples count as passed."""
        return math.floor(position + 1e-9) > math.floor(position - step + 1e-9)


class _Pace:
    """Keeps the host at most two steps ahead of the device, so that a budget in seconds sees time pass."""

    def __init__(self, device: torch.device, in_step: bool) -> None:
        self._device = device
        self._active = in_step and device.type == "cuda"
        self._queued: deque[torch.cuda.Event] = deque()

    def keep(self) -> None:
        if not self._active:
            return
        self._queued.append(torch.cuda.current_stream(self._device).record_event())
        if len(self._queued) > 2:
            self._queued.popleft().synchronize()


def _warm_up(network: nn.Module, recipe: Recipe, images: Images, batch_size: int, execution: Execution) -> None:
    """Pay one-time costs (allocation, autotuning, lazy initialisation) outside the budget, then undo the steps.

    The labels are random, so nothing is learned; weights, buffers and random state are put back.
    """
    device = images.train.images.device
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        optimizer = make_optimizer(recipe, network.parameters(), rate=1e-6)
        step = TrainingStep(network, optimizer, recipe, execution)
        network.train()
        for _ in range(3 if device.type == "cuda" else 1):
            x = torch.randn(batch_size, *images.input_size, device=device)
            labels = torch.randint(len(images.image_set.classes), (batch_size,), device=device)
            step(x.to(memory_format=memory_format(execution)), labels)
    optimizer.zero_grad(set_to_none=True)
    network.load_state_dict(weights)
    synchronise(device)


def _mean(losses: list[Tensor]) -> float:
    return torch.stack(losses).float().mean().item()
