"""Train one network until its budget is spent, then test it once.

One-time costs are paid before the budget starts: compiling, autotuning, recording a CUDA graph.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.config import Budget, Execution
from bench.data.batches import Preparation, TrainingBatches, first_of_each_class
from bench.device import accelerator
from bench.device.execution import CannotCapture, captured, memory_format
from bench.device.nvml import Clocks
from bench.device.timing import keeping_pace
from bench.quantity import first_line
from bench.training import randomness
from bench.training.evaluation import Confusion, Images, confusions, evaluate, predicted_classes, settle_batch_norm
from bench.training.recipes import Recipe
from bench.training.schedule import CURVE_TEST_IMAGES, CurvePoint, CurveRecorder, Meter, learning_rate_factor
from bench.training.step import TrainingStep, make_optimizer
from bench.training.weights import Checkpoint


@dataclass(frozen=True)
class Trained:
    """What a training came to."""

    top1: float
    tested: int
    spent: Meter
    final_loss: float  # mean over the last tenth of the budget
    curve: tuple[CurvePoint, ...]
    warm_up: WarmedUp
    resumed_at: int | None  # images, where it went on from a checkpoint
    confusions: tuple[Confusion, ...]  # of the final test


class Trainee:
    """A network with all that its training takes but a budget and a seed: one-time costs are paid.

    What was chosen and recorded for it serves every training that begins with `start_anew`.
    """

    def __init__(
        self, network: nn.Module, recipe: Recipe, images: Images, batch_size: int, execution: Execution = Execution()
    ) -> None:
        self.network, self.images = network, images
        self._recipe, self._batch_size, self._execution = recipe, batch_size, execution
        optimizer = make_optimizer(recipe, network.parameters(), recipe.rate_at(batch_size))
        self._step = TrainingStep(network, optimizer, recipe, execution, len(images.image_set.classes))
        self._warm = warmed_up(self._step, images, batch_size, execution)

    def start_anew(self, fresh: nn.Module) -> None:
        """Take the weights and buffers of a network that is built alike, and forget all that was learned."""
        self._step.start_anew(fresh)

    def train(
        self,
        budget: Budget,
        forward_flops: float,
        seed: int,
        checkpoint: Checkpoint | None = None,
        clocks: Clocks | None = None,
    ) -> Trained:
        """Train the network from its present weights, or from `checkpoint`, and test it at the end of the budget.

        The learning rate is a function of the share of the budget spent, so every kind of budget ends with a finished
        schedule. The clock stops for evaluation, and starts after one-time costs.
        `forward_flops` are those of one image; `seed` decides shuffling and augmentation; `clocks` are looked at by
        the way.

        Raises:
            Diverged: the loss became infinite or not a number.
        """
        network, step, warm, recipe, images = self.network, self._step, self._warm, self._recipe, self.images
        batch_size, execution = self._batch_size, self._execution
        place = images.train.images.device
        device = accelerator.of(place)
        rate = recipe.rate_at(batch_size)
        prepare = Preparation(images.image_set, images.input_size, place, memory_format(execution), images.resize)
        generator, at_once = torch.Generator(place).manual_seed(seed), device.sizes.prepared_bytes
        batches = TrainingBatches(
            images.train, prepare, batch_size, generator, at_once, recipe.crop_padding, recipe.flip, device.is_host
        )
        meter = Meter(budget, len(images.train.labels), forward_flops)
        on_the_way = replace(images, test=first_of_each_class(images.test, CURVE_TEST_IMAGES))
        recorder = CurveRecorder(meter, len(on_the_way.test.labels), recipe.curve_every)
        progress = _Progress(step, batches, meter, recorder, place)
        saved = checkpoint.load() if checkpoint else None
        if saved:
            progress.resume(saved)
        resumed_at = meter.images if saved else None
        # A budget in seconds has to see time pass.
        keep_pace = keeping_pace(device) if budget.kind == "s" else lambda: None

        network.train()
        meter.start()
        while (upcoming := meter.fraction_after(batch_size)) <= 1 or meter.images == 0:
            # The rate for a batch is that of the middle of the share of the budget which it spends.
            middle = (recorder.fraction + min(upcoming, 1.0)) / 2
            step.set_rate(rate * learning_rate_factor(middle, recipe.warmup, recipe.schedule))
            loss = warm.step(*next(batches))
            meter.images += batch_size
            keep_pace()
            if recorder.note(loss, upcoming, batch_size):
                if clocks is not None:  # while the device is at work
                    clocks.look()
                device.synchronise()
                meter.pause()
                recorder.add_point(evaluate(network, on_the_way, execution) if recorder.test_due() else None)
                if checkpoint and checkpoint.due():
                    checkpoint.write(progress.state())
                network.train()
                meter.start()
        device.synchronise()
        meter.pause()
        if recipe.settle_batch_norm:
            settle_batch_norm(network, batches, execution)
        labels, predicted = images.test.labels, predicted_classes(network, images, execution)
        tested = len(labels)
        top1 = (predicted == labels).sum().item() / tested
        recorder.add_point(top1)
        curve = tuple(recorder.points)
        return Trained(
            top1, tested, meter, recorder.final_loss(), curve, warm, resumed_at, confusions(labels, predicted)
        )


@dataclass(frozen=True)
class WarmedUp:
    """How steps are taken from now on, and what it took to get there."""

    step: Callable[[Tensor, Tensor], Tensor]
    seconds: float
    cuda_graphs: bool
    note: str  # why there is no CUDA graph where one was wanted


def warmed_up(step: TrainingStep, images: Images, batch_size: int, execution: Execution) -> WarmedUp:
    """Take some steps on noise with random labels, so that nothing is learned, and undo them.

    On a GPU the whole step is then recorded as a CUDA graph, unless the execution rules it out or the network draws
    random numbers on the host: a graph would repeat one draw for ever. Weights, optimizer and random state are put
    back in place, where a graph looks for them.

    Raises:
        CaptureFailed: it cannot be recorded, and this process must not go on.
    """
    start = time.perf_counter()
    place = images.train.images.device
    device = accelerator.of(place)
    before = copy.deepcopy(step.state())
    wanted = device.captures and execution.cuda_graphs is not False
    taken: Callable[[Tensor, Tensor], Tensor] = step
    note = ""
    with randomness.preserved(place):
        x = torch.randn(batch_size, *images.input_size, device=place).to(memory_format=memory_format(execution))
        labels = torch.randint(len(images.image_set.classes), (batch_size,), device=place)
        step.network.train()
        step.set_rate(1e-6)

        def steps() -> None:
            for _ in range(device.sizes.warm_up_steps):
                step(x, labels)

        if not wanted:
            steps()
        else:
            why_not = partial(randomness.why_not_repeated, steps, lambda: step(x, labels), execution.compile)
            try:
                replay = captured(device, step, x, labels, why_not=why_not)
            except CannotCapture as error:
                note = f"no CUDA graph: {first_line(error)}"
            else:
                # Whoever keeps a loss keeps a copy: the next replay overwrites it.
                def taken(x: Tensor, labels: Tensor) -> Tensor:
                    return replay(x, labels).clone()

    step.resume(before)
    device.synchronise()
    return WarmedUp(taken, time.perf_counter() - start, wanted and not note, note)


@dataclass(frozen=True)
class _Progress:
    """Everything that a training changes as it goes, between two steps."""

    step: TrainingStep
    batches: TrainingBatches
    meter: Meter
    recorder: CurveRecorder
    device: torch.device

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step.state(),
            "batches": self.batches.state(),
            "meter": self.meter.state(),
            "history": self.recorder.state(),  # the name that checkpoints have it under
            "randomness": randomness.state(self.device),
        }

    def resume(self, state: dict[str, Any]) -> None:
        self.step.resume(state["step"])
        self.batches.resume(state["batches"])
        self.meter.resume(state["meter"])
        self.recorder.resume(state["history"], self.device)
        randomness.restore(state["randomness"], self.device)
