"""Images per second at the batch size that suits each network best."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from bench.config import Task
from bench.device.execution import arithmetic
from bench.device.out_of_memory import is_out_of_memory, release_memory
from bench.device.timing import Timing
from bench.probes.reading import Answer, Measurement, Reading
from bench.probes.steps import MakeStep, attempted, inference_step, training_step
from bench.probes.throughput import timed
from bench.quantity import first_line

SWEEP_S = 0.1  # of sampling at each size
WORTH_IT = 1.02  # a doubled batch must gain 2 % to be tried further
LARGEST = 1 << 16


@dataclass
class Sweep:
    """Batch sizes tried, in order, and the first that was too large, with the reason."""

    tried: dict[int, Timing] = field(default_factory=dict)
    too_large: int | None = None
    reason: str = "did not fit into memory"

    def rate(self, batch_size: int) -> float:
        return batch_size / statistics.median(self.tried[batch_size].seconds)

    @property
    def best(self) -> int:
        return max(self.tried, key=self.rate)


def measure(task: Task) -> Measurement:
    """Double the batch from the common one as long as it pays, and halve it as long as that pays instead."""
    readings: dict[str, Answer] = {}
    with arithmetic(task.config.execution.precision):
        for kind, make in (("inference", inference_step), ("train", training_step)):
            metric = f"best_{kind}_images_per_s"
            readings |= attempted([metric], task, partial(_best, metric, make))
    return Measurement(readings)


def sweep(attempt: Callable[[int], Timing], start: int) -> Sweep:
    """Time batch sizes by doubling and halving from `start`, with an early stop in both directions.

    An error at a larger batch than the first ends the way up, whatever it is: kernels fail in many ways where tensors
    pass 2^31 elements. A device that has failed so is not asked again.

    Raises:
        Exception: what `attempt` raises up to the first batch, except lack of memory above a batch of one.
    """
    found = Sweep()

    def pays(batch_size: int, than: int | None) -> bool:
        """Time it; whether it is worth going on in the same direction."""
        try:
            found.tried[batch_size] = attempt(batch_size)
        except Exception as error:
            fits = not is_out_of_memory(error)
            if batch_size == 1 or (fits and batch_size <= start):
                raise
            found.too_large = batch_size
            if fits:
                found.reason = f"failed ({type(error).__name__}: {first_line(error)})"
            return False
        return than is None or found.rate(batch_size) >= WORTH_IT * found.rate(than)

    size = start
    while not pays(size, None):  # it did not fit
        release_memory()
        size //= 2
    first = size
    while found.too_large is None and size < LARGEST and pays(2 * size, size):
        size *= 2
    release_memory()
    if size == first and found.reason == Sweep.reason:
        while size > 1 and pays(size // 2, size):
            size //= 2
    return found


def _best(metric: str, make: MakeStep, task: Task) -> Mapping[str, Answer]:
    """Each size is tried briefly, with kernels as libraries would take them unasked; the best one is timed in full."""
    brief = replace(task, config=replace(task.config, measure_seconds=SWEEP_S))
    with arithmetic(task.config.execution.precision, autotune=False):
        found = sweep(lambda batch_size: timed(make, brief, batch_size), task.batch_size)
    release_memory()
    # A device that has failed at a larger batch is not asked again.
    timing = timed(make, task, found.best) if found.reason == Sweep.reason else found.tried[found.best]
    rates = tuple(found.best / seconds for seconds in timing.seconds)
    tried = ", ".join(f"{size}: {found.rate(size):,.0f}/s" for size in sorted(found.tried))
    limit = f"; batch {found.too_large} {found.reason}" if found.too_large else ""
    steadiness = f"; {timing.note}" if timing.note else ""
    best = Reading(
        value=statistics.median(rates),
        samples=rates,
        batch_size=found.best,
        cuda_graphs=bool(task.config.execution.cuda_graphs),
        device=task.device,
        note=f"tried {tried}{limit}{steadiness}",
        flags=timing.flags,
        clock_mhz=timing.clock_mhz,
    )
    return {metric: best}
