"""How long a training would take here, from a few of its steps: what decides whether it is begun."""

from __future__ import annotations

import statistics
import time

from bench.config import Task
from bench.device import accelerator
from bench.device.execution import arithmetic
from bench.probes.accuracy import image_set_for
from bench.probes.counts import forward_macs
from bench.probes.reading import Measurement, Reading, Unsupported
from bench.probes.steps import training_step
from bench.training.recipes import recipe_for
from bench.training.schedule import budget_images

TIMED_S = 0.5  # of steps, and at least one
WARM_UP_STEPS = 1


def measure(task: Task) -> Measurement:
    """Time steps of the training's own batch size and multiply by their number; building and testing come on top.

    Raises:
        Unsupported: the network is not trained, or its budget says itself how long that takes.
    """
    image_set = image_set_for(task)
    if task.budget.kind == "s":
        raise Unsupported(f"a budget of {task.budget} takes as long as it says")
    batch_size = task.config.train_batch_size or recipe_for(task.spec.family, task.inputs.recipes).batch_size
    flops = 2 * forward_macs(task.spec) if task.budget.kind == "pflop" else 0.0
    images = budget_images(task.budget, image_set.train_count, flops)
    synchronise = accelerator.named(task.device).synchronise
    with arithmetic(task.config.execution.precision):
        step = training_step(task, batch_size)
        for _ in range(WARM_UP_STEPS):
            step()
        seconds: list[float] = []
        while sum(seconds) < TIMED_S:
            synchronise()
            start = time.perf_counter()
            step()
            synchronise()
            seconds.append(time.perf_counter() - start)
    predicted = images / batch_size * statistics.median(seconds)
    return Measurement(
        {"predicted_train_seconds": Reading(predicted, batch_size=batch_size, predicted=True, device=task.device)}
    )
