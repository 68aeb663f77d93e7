"""What a step needs in memory: measured by an allocator, predicted by a replay on the meta device, and its parts.

"Above what was held before" means before the network was built: weights, buffers, the batch, gradients and optimizer
state count. What the GPU's matrix library keeps for the whole process is held before, and does not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import torch
from torch import nn

from bench.config import Execution, MemorySize, Task
from bench.device import accelerator
from bench.device.accelerator import Device, Memory
from bench.device.execution import HALF, arithmetic, inference_dtype
from bench.device.out_of_memory import is_out_of_memory, release_memory, with_batch_that_fits
from bench.probes.counting.replay import (
    PARTS,
    Footprint,
    inference_footprint,
    largest_batch,
    training_footprint,
)
from bench.probes.reading import Answer, Measurement, Reading, Unsupported
from bench.probes.steps import MakeStep, Step, attempted, inference_step, training_step, try_step
from bench.training.recipes import recipe_for

WARM_UP_STEPS = 3  # libraries choose their kernels, and the optimizer makes its state
MEASURED_STEPS = 5  # a network that draws at random needs more in some steps than in others
_PARTS = tuple(f"{part}_bytes" for part in PARTS)
SMALLER = (0.97, 0.94, 0.9, 0.85, 0.8)  # of a predicted batch that did not fit


@dataclass(frozen=True)
class _Weighed:
    """One of the two steps, as a function of the batch size."""

    name: str
    make: MakeStep  # for real
    footprint: Callable[[int], Footprint]  # replayed
    batch_size: int  # as asked
    task: Task

    def step(self, batch_size: int) -> Step:
        return self.make(self.task, batch_size)

    @property
    def device(self) -> Device:
        return accelerator.named(self.task.device)


def measure(task: Task) -> Measurement:
    """Peaks of an inference pass and of a training step that is not the first, at the batch size of the throughput."""
    # A recorded graph keeps its memory for good; what a step needs shows where it runs as it is.
    execution = replace(task.config.execution, cuda_graphs=False)
    task = replace(task, config=replace(task.config, execution=execution))
    readings: dict[str, Answer] = {}
    with arithmetic(execution.precision):
        if accelerator.named(task.device).memory:
            _warm_up_libraries(accelerator.named(task.device), execution)
        for name, weigh in (("inference", _inference), ("training", _training)):
            metrics = [f"{what}_{name}_bytes" for what in ("peak", "predicted", "reserved")]
            metrics += [f"largest_{name}_batch", *(_PARTS if name == "training" else ())]
            readings |= attempted(metrics, task, lambda task, weigh=weigh: _readings(weigh(task)))  # type: ignore[misc]
    return Measurement(readings)


def _inference(task: Task) -> _Weighed:
    kind = accelerator.named(task.device).kernels
    replayed = lru_cache(partial(inference_footprint, task.spec, task.config.execution, kind))
    return _Weighed("inference", inference_step, replayed, task.batch_size, task)


def _training(task: Task) -> _Weighed:
    kind = accelerator.named(task.device).kernels
    recipe = recipe_for(task.spec.family, task.inputs.recipes)
    replayed = lru_cache(partial(training_footprint, task.spec, recipe, task.config.execution, kind))
    return _Weighed("training", training_step, replayed, task.batch_size, task)


def _readings(weighed: _Weighed) -> dict[str, Answer]:
    """Every metric of one of the two steps."""
    name, config = weighed.name, weighed.task.config
    parts = _PARTS if name == "training" else ()
    try:
        if not weighed.device.memory:
            try_step(weighed.make, weighed.task)
        footprint = weighed.footprint(weighed.batch_size)
    except Unsupported as reason:
        predicted: Answer = reason
        readings: dict[str, Answer] = dict.fromkeys(parts, predicted)
        largest: Answer = reason
    else:
        kernels = "a GPU" if weighed.device.memory else "a CPU"
        eager = ", without torch.compile" if config.execution.compile else ""
        where = "replayed on the CPU" if footprint.place else "replayed on the meta device"
        note = f"{where} as {kernels} would run it{eager}; scratch space of kernels is not in it"
        if not weighed.device.memory and config.execution.precision in HALF:
            half = config.execution.precision
            note += f"; a CPU without {half} arithmetic computes {half} through copies, which are not in it either"
        note += f"; {footprint.place}" if footprint.place else ""
        predicted = Reading(footprint.peak, batch_size=weighed.batch_size, predicted=True, note=note)
        values = (getattr(footprint, part) for part in PARTS)
        readings = {part: replace(predicted, value=bytes_) for part, bytes_ in zip(parts, values, strict=False)}
        largest = _largest(weighed, config.fit) if config.fit else Unsupported("name a memory with --fit")
    peak: Answer = predicted
    reserved: Answer = Unsupported("there is no allocator here that reserves memory and says how much")
    if memory := weighed.device.memory:
        peak, reserved = _measured(weighed, memory)
    return readings | {
        f"peak_{name}_bytes": peak,
        f"predicted_{name}_bytes": predicted,
        f"reserved_{name}_bytes": reserved,
        f"largest_{name}_batch": largest,
    }


def _measured(weighed: _Weighed, memory: Memory) -> tuple[Reading, Reading] | tuple[Unsupported, Unsupported]:
    """Peak and reserved bytes by the device's allocator, warm, above what was held before the network was built."""
    device, asked = weighed.device, weighed.batch_size

    def attempt(batch_size: int) -> tuple[int, int, int]:
        before = memory.now()
        step = weighed.step(batch_size)
        _run(step, WARM_UP_STEPS, device)
        memory.release()  # what only the choice of kernels needed
        memory.reset()
        _run(step, MEASURED_STEPS, device)
        most = memory.most()
        return most.held - before.held, most.reserved - before.reserved, most.requested - before.requested

    try:
        (peak, reserved, requested), used = with_batch_that_fits(attempt, asked)
    except Unsupported as reason:
        return reason, reason
    halved = [f"batch {asked} did not fit into memory"] if used != asked else []
    warm = f"the most of {MEASURED_STEPS} warm steps; {requested:,} bytes before the allocator's rounding"
    reading = Reading(
        peak, batch_size=used, asked_batch_size=asked, device=weighed.task.device, note="; ".join([*halved, warm])
    )
    return reading, replace(reading, value=reserved, note="; ".join(halved))


def _run(step: Step, times: int, device: Device) -> None:
    for _ in range(times):
        step()
    device.synchronise()


def _warm_up_libraries(device: Device, execution: Execution) -> None:
    """Let cuBLAS take the workspace that it keeps for the process, in this thread and in that of backward passes."""
    for dtype in {torch.float32, inference_dtype(execution)}:
        product = nn.Linear(64, 64, device=device.place, dtype=dtype)
        product(torch.ones(64, 64, device=device.place, dtype=dtype)).sum().backward()
    device.synchronise()
    del product
    release_memory()


def _largest(weighed: _Weighed, fit: MemorySize) -> Reading:
    """The largest batch whose predicted peak is within `fit`, verified by replay; on a GPU tried there."""
    peak = _peak_by_batch(weighed)
    batch_size = largest_batch(peak, fit.bytes, weighed.batch_size)
    more = f"{peak(batch_size + 1):,} bytes predicted for a batch of {batch_size + 1}"
    if batch_size == 0:
        return Reading(0, predicted=True, note=f"{fit} holds not even one image: {more}")
    note = f"within {fit}: {peak(batch_size):,} bytes predicted, {more}"
    if weighed.device.memory is None:
        return Reading(batch_size, batch_size=batch_size, predicted=True, note=note)
    tried = _tried(weighed, weighed.device.memory, batch_size, fit)
    return Reading(
        batch_size, batch_size=batch_size, predicted=True, device=weighed.task.device, note=f"{note}; {tried}"
    )


def _peak_by_batch(weighed: _Weighed) -> Callable[[int], int]:
    """The replayed peak of any batch size; on the straight line through two of them where replays are on real tensors.

    Such a replay takes the memory that it weighs.
    """
    first = weighed.footprint(weighed.batch_size)
    if not first.place:
        return lambda size: weighed.footprint(size).peak
    slope = (weighed.footprint(2 * weighed.batch_size).peak - first.peak) / weighed.batch_size
    return lambda size: math.ceil(first.peak + slope * (size - weighed.batch_size))


def _tried(weighed: _Weighed, memory: Memory, batch_size: int, fit: MemorySize) -> str:
    """What happens to steps at the predicted batch while the allocator may reserve no more than `fit`."""
    release_memory()
    allowed = fit.bytes + memory.now().reserved
    if allowed > memory.total:
        return f"not tried: this device has {memory.total:,} bytes"
    if not memory.limit(allowed):
        return "not tried: this device's allocator takes no limit"
    try:
        for size in (batch_size, *(max(1, int(share * batch_size)) for share in SMALLER)):
            if _runs(weighed, size):
                return "tried: it fits" if size == batch_size else f"tried: it does not fit, a batch of {size} does"
        return f"tried: it does not fit, nor does {SMALLER[-1]:.0%} of it"
    finally:
        memory.limit(None)


def _runs(weighed: _Weighed, batch_size: int) -> bool:
    """Whether a few steps run without running out of memory."""
    try:
        _run(weighed.step(batch_size), WARM_UP_STEPS, weighed.device)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        fits = False
    else:
        fits = True
    release_memory()
    return fits
