"""One-time costs, paid before the budget starts: compiling, autotuning, recording a CUDA graph."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.config import Execution
from bench.device.execution import captured, memory_format, synchronise
from bench.quantity import first_line
from bench.training import randomness
from bench.training.evaluation import Images
from bench.training.step import TrainingStep

STEPS = {"cpu": 1, "cuda": 3}


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
    """
    start = time.perf_counter()
    device = images.train.images.device
    before = copy.deepcopy(step.state())
    wanted = device.type == "cuda" and execution.cuda_graphs is not False
    taken: Callable[[Tensor, Tensor], Tensor] = step
    note = ""
    with randomness.preserved(device):
        x = torch.randn(batch_size, *images.input_size, device=device).to(memory_format=memory_format(execution))
        labels = torch.randint(len(images.image_set.classes), (batch_size,), device=device)
        step.network.train()
        step.set_rate(1e-6)

        def steps() -> None:
            for _ in range(STEPS[device.type]):
                step(x, labels)

        decides_on_the_host = randomness.draws_on_the_host(steps)
        if wanted and decides_on_the_host:
            note = "no CUDA graph: the network draws random numbers on the host"
        elif wanted:
            try:
                replay = captured(step, x, labels)
            except RuntimeError as error:
                note = f"no CUDA graph: {first_line(error)}"
            else:
                # Whoever keeps a loss keeps a copy: the next replay overwrites it.
                def taken(x: Tensor, labels: Tensor) -> Tensor:
                    return replay(x, labels).clone()

    step.resume(before)
    synchronise(device)
    return WarmedUp(taken, time.perf_counter() - start, wanted and not note, note)
