"""One-time costs, paid before the budget starts: compiling, autotuning, recording a CUDA graph."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.config import Execution
from bench.device import accelerator
from bench.device.execution import CannotCapture, captured, memory_format
from bench.quantity import first_line
from bench.training import randomness
from bench.training.evaluation import Images
from bench.training.step import TrainingStep


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

        decides_on_the_host = randomness.draws_on_the_host(steps)
        if wanted and decides_on_the_host:
            note = "no CUDA graph: the network draws random numbers on the host"
        elif wanted:
            try:
                replay = captured(device, step, x, labels)
            except CannotCapture as error:
                note = f"no CUDA graph: {first_line(error)}"
            else:
                # Whoever keeps a loss keeps a copy: the next replay overwrites it.
                def taken(x: Tensor, labels: Tensor) -> Tensor:
                    return replay(x, labels).clone()

    step.resume(before)
    device.synchronise()
    return WarmedUp(taken, time.perf_counter() - start, wanted and not note, note)
