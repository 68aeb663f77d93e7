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
from bench.device.accelerator import Device, KernelKind, Memory
from bench.device.execution import (
    HALF,
    arithmetic,
    inference_dtype,
    is_out_of_memory,
    release_memory,
    with_batch_that_fits,
)
from bench.probes.counting.replay import PARTS, Footprint, inference_footprint, largest_batch, training_footprint
from bench.probes.reading import Answer, Measurement, Reading, Unsupported
from bench.probes.steps import MakeStep, Step, inference_step, one_by_one, training_step, try_step
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
    task: Task

    def step(self, batch_size: int) -> Step:
        step = self.make(self.task, batch_size)
        step.batch.copied_from_the_host()
        return step

    @property
    def device(self) -> Device:
        return accelerator.named(self.task.device)


def measure(task: Task) -> Measurement:
    """Peaks of an inference pass and of a training step that is not the first, at the batch size of the throughput.

    Of a device whose allocator cannot be asked, the predicted ones.
    """
    device = accelerator.named(task.device)
    parts = [
        ((f"peak_{name}_bytes", f"reserved_{name}_bytes", f"largest_{name}_batch"), partial(_of, name, _readings))
        for name in ("inference", "training")
    ]
    # Kernels that are chosen by their time come and go from run to run, and with them hundreds of MB of workspace.
    with arithmetic(task.config.execution.precision, autotune=False):
        if device.memory:
            _warm_up_libraries(device, task.config.execution)
        return one_by_one(task, parts)


def predict(task: Task) -> Measurement:
    """The same peaks by a replay that needs no device, and their parts in training."""
    parts = [
        ((f"predicted_{name}_bytes", *(_PARTS if name == "training" else ())), partial(_of, name, _predictions))
        for name in ("inference", "training")
    ]
    with arithmetic(task.config.execution.precision):
        return one_by_one(replace(task, device="cpu"), parts)


def _of(name: str, answers: Callable[[_Weighed], dict[str, Answer]], task: Task) -> dict[str, Answer]:
    """What is said of one of the two steps.

    A recorded graph keeps its memory for good; what a step needs shows where it runs as it is.
    """
    task = task.with_execution(replace(task.config.execution, cuda_graphs=False))
    spec, execution, kernels = task.spec, task.config.execution, _kernels(task)
    if name == "inference":
        replayed = partial(inference_footprint, spec, execution, kernels)
        return answers(_Weighed(name, inference_step, lru_cache(replayed), task))
    replayed = partial(training_footprint, spec, recipe_for(spec.family, task.inputs.recipes), execution, kernels)
    return answers(_Weighed(name, training_step, lru_cache(replayed), task))


def _kernels(task: Task) -> KernelKind:
    """Whose replay imitates the device of the run; a prediction is made on the host."""
    return "cuda" if task.config.dedicated else accelerator.named(task.device).kernels


def _predictions(weighed: _Weighed) -> dict[str, Answer]:
    """The replayed peak of one of the two steps; of training, its parts too."""
    execution, host = weighed.task.config.execution, _kernels(weighed.task) == "cpu"
    tried = execution if host else Execution(memory_format=execution.memory_format)  # what any host computes in
    try_step(weighed.make, weighed.task.with_execution(tried))
    footprint = weighed.footprint(weighed.task.batch_size)
    eager = ", without torch.compile" if execution.compile else ""
    where = "replayed on the CPU" if footprint.on_cpu else "replayed on the meta device"
    note = f"{where} as {'a CPU' if host else 'a GPU'} would run it{eager}; scratch space of kernels is not in it"
    if host and execution.precision in HALF:
        half = execution.precision
        note += f"; a CPU without {half} arithmetic computes {half} through copies, which are not in it either"
    note += f"; {footprint.on_cpu}" if footprint.on_cpu else ""
    peak = Reading(footprint.peak, batch_size=weighed.task.batch_size, predicted=True, note=note)
    parts = PARTS if weighed.name == "training" else ()
    return {
        f"predicted_{weighed.name}_bytes": peak,
        **{f"{part}_bytes": replace(peak, value=getattr(footprint, part)) for part in parts},
    }


def _readings(weighed: _Weighed) -> dict[str, Answer]:
    """Every metric of one of the two steps that is of this device."""
    name, fit = weighed.name, weighed.task.config.fit
    peak: Answer
    reserved: Answer
    if memory := weighed.device.memory:
        peak, reserved = _measured(weighed, memory)
    else:
        peak = _predictions(weighed)[f"predicted_{name}_bytes"]
        reserved = Unsupported("there is no allocator here that reserves memory and says how much")
    return {
        f"peak_{name}_bytes": peak,
        f"reserved_{name}_bytes": reserved,
        f"largest_{name}_batch": _largest(weighed, fit) if fit else Unsupported("name a memory with --fit"),
    }


def _measured(weighed: _Weighed, memory: Memory) -> tuple[Reading, Reading] | tuple[Unsupported, Unsupported]:
    """Peak and reserved bytes by the device's allocator, warm, above what was held before the network was built."""
    device, asked = weighed.device, weighed.task.batch_size

    def attempt(batch_size: int) -> tuple[int, int, int]:
        before = memory.now()
        step = weighed.step(batch_size)
        _run(step, WARM_UP_STEPS, device)
        memory.release()  # what only the choice of kernels needed
        memory.reset()
        _run(step, MEASURED_STEPS, device)
        most = memory.most()
        # Of what had been reserved and was not in use, the step may take some.
        return most.held - before.held, most.reserved - before.held, most.requested - before.requested

    try:
        (peak, reserved, requested), used = with_batch_that_fits(attempt, asked)
    except Unsupported as reason:
        return reason, reason
    if peak <= 0:  # of an allocator in place of PyTorch's own, or of none at all (PYTORCH_NO_CUDA_MEMORY_CACHING)
        untold = Unsupported("the allocator does not tell what is held")
        return untold, untold
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
        # The backward pass has a thread of its own, which cuBLAS warns of if nothing but itself has run there.
        product(torch.ones(64, 64, device=device.place, dtype=dtype)).relu().sum().backward()
    device.synchronise()
    del product
    release_memory()


def _largest(weighed: _Weighed, fit: MemorySize) -> Reading:
    """The largest batch whose predicted peak is within `fit`, verified by replay; on a GPU tried there."""
    peak = _peak_by_batch(weighed)
    batch_size = largest_batch(peak, fit.bytes, weighed.task.batch_size)
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
    first = weighed.footprint(weighed.task.batch_size)
    if not first.on_cpu:
        return lambda size: weighed.footprint(size).peak
    slope = (weighed.footprint(2 * weighed.task.batch_size).peak - first.peak) / weighed.task.batch_size
    return lambda size: math.ceil(first.peak + slope * (size - weighed.task.batch_size))


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
