"""The two steps that are timed, weighed and metered: a forward pass, and a training step as training runs it.

Both work on one batch that stays on the device. Images are random: no operation here runs faster on one image than on
another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

from bench.config import Config, Execution, MemoryFormat, Precision, Task
from bench.device import accelerator
from bench.device.execution import (
    CannotCapture,
    as_written,
    by_its_name,
    captured,
    for_inference,
    for_training,
    inference_dtype,
    is_out_of_memory,
    memory_format,
    release_memory,
)
from bench.device.timing import Timing
from bench.models import REGISTRY, ModelSpec, is_known
from bench.probes.counting.networks import fresh_network, require_training_mode
from bench.probes.reading import Answer, Measurement, Reading, Unsupported
from bench.quantity import first_line, joined
from bench.training import randomness
from bench.training.recipes import recipe_for
from bench.training.step import TrainingStep, logits, make_optimizer

Result = TypeVar("Result")

# How far the logits of a network that is compiled, or laid out in another way, may be from those as written, as a share
# of their norm: some rounding of deep networks more than what fusing and reordering changes, and far less than what a
# wrong kernel does.
TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "tf32": 2e-2, "fp16": 2e-2, "bf16": 1e-1}


class Batch:
    """Random images that stay on the device, the same in every step.

    A network may change them where they are, as `x.sub_(mean)` does, and its own output would be its next input. The
    first pass shows whether it does; then each later one gets a copy.
    """

    def __init__(self, size: tuple[int, ...], execution: Execution, device: torch.device, dtype: torch.dtype) -> None:
        self.images = torch.randn(size, device=device, dtype=dtype).to(memory_format=memory_format(execution))
        self._place = device  # where the images are that are copied
        self._kept: Tensor | None = None
        self._is_new = True
        self.note = ""  # what a reader must know

    def given_to(self, network: Callable[[Tensor], Result]) -> Result:
        """What it returns."""
        if self._kept is not None:
            self.images.copy_(self._kept)
        before = self._sum() if self._is_new else None
        output = network(self.images)
        if before is not None:
            self._is_new = False
            if self._sum() != before:  # others will do, drawn where no network draws
                drawn = torch.randn(self.images.shape, generator=torch.Generator().manual_seed(0))
                self._kept = torch.empty_like(self.images, device=self._place).copy_(drawn)
                self.note = "the network changes its input in place: each step has a copy"
        return output

    def copied_from_the_host(self) -> None:
        """For a step that is weighed: what is copied is no part of it."""
        self._place = torch.device("cpu")
        self._kept = None if self._kept is None else self._kept.cpu()

    def _sum(self) -> int:
        """Of the bits: it is exact, and takes no memory."""
        return int(self.images.view({2: torch.int16, 4: torch.int32}[self.images.element_size()]).sum())


@dataclass(frozen=True)
class Step:
    """Takes a step on a batch when called: the logits, or the loss."""

    take: Callable[[], Tensor]
    batch: Batch

    def __call__(self) -> Tensor:
        return self.take()


MakeStep = Callable[[Task, int], Step]  # (task, batch size)


def inference_step(task: Task, batch_size: int) -> Step:
    """A forward pass in eval mode; weights and images are of the type that is computed in.

    Raises:
        ValueError: compiled, the network computes something else.
    """
    spec, execution, device = task.spec, task.config.execution, accelerator.named(task.device).place
    torch.manual_seed(task.seed)
    network = for_inference(_network(task), execution, device)
    batch = Batch((batch_size, *spec.input_size), execution, device, inference_dtype(execution))

    mode: Callable[[], AbstractContextManager[object]] = torch.inference_mode

    def forward() -> Tensor:
        with mode():
            found = logits(batch.given_to(network), spec.num_classes)
        if len(found) != batch_size:
            raise ValueError(f"the network returns logits of {len(found)} images where it is given {batch_size}")
        return found

    if not is_known(spec.name):
        mode = torch.no_grad
        with as_written():  # what it keeps for good, such as a table in its file, is then of use in training too
            forward()
        mode = torch.inference_mode
        try:
            forward()
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            mode = torch.no_grad
            batch.note = joined(batch.note, "without inference mode, in which the network fails")
    check_compiled(forward, execution)
    step = Step(forward, batch)
    return replayed(task, step) if execution.cuda_graphs else step


def training_step(task: Task, batch_size: int, passed: Callable[[str], object] | None = None) -> Step:
    """Forward, loss, backward and the recipe's optimizer; `passed` hears the name of each part when it is over.

    Raises:
        Unsupported: the network has nothing to train or no training mode, nothing of it gets a gradient, or it must
            stay as it is.
        ValueError: compiled, the network computes something else.
    """
    if task.spec.as_it_is:
        raise Unsupported(f"no training step is taken with it: {task.spec.as_it_is}")
    spec, execution, device = task.spec, task.config.execution, accelerator.named(task.device).place
    torch.manual_seed(task.seed)
    network = _network(task)
    require_training_mode(network)
    network = for_training(network, execution, device)
    trainable = [p for p in network.parameters() if p.requires_grad]
    if not trainable:
        raise Unsupported("there is nothing to train: the network has no trainable parameters")
    recipe = recipe_for(spec.family, task.inputs.recipes)
    # A rate this small leaves the weights where they are: random labels for seconds on end would drive some networks
    # to infinity, and arithmetic on infinities can take another time.
    optimizer = make_optimizer(recipe, trainable, rate=1e-8)
    step = TrainingStep(network, optimizer, recipe, execution, spec.num_classes, passed)
    batch = Batch((batch_size, *spec.input_size), execution, device, torch.float32)
    labels = torch.randint(spec.num_classes, (batch_size,), device=device)
    check_compiled(lambda: batch.given_to(step.logits), execution)
    taken = Step(lambda: batch.given_to(lambda images: step(images, labels)), batch)
    taken()
    if all(parameter.grad is None for parameter in trainable):
        raise Unsupported("nothing is trained: no parameter gets a gradient in a training step")
    return replayed(task, taken) if execution.cuda_graphs else taken


def _network(task: Task) -> nn.Module:
    """With random weights drawn where they are used: any serve, and a host takes seconds to draw a large network's."""
    spec, device = task.spec, accelerator.named(task.device)
    if not device.is_host:
        with suppress(Exception), device.place:  # a user's constructor may need the host
            return fresh_network(spec, spec.num_classes)
    return fresh_network(spec, spec.num_classes)


def replayed(task: Task, step: Step) -> Step:
    """The step as a graph.

    Raises:
        Unsupported: no graph can hold it, or there is none here.
    """
    if not accelerator.named(task.device).captures:
        raise Unsupported("only a device that records its steps as graphs can replay them")
    if task.config.execution.cuda_graphs is False:
        failed = f"its capture failed ({task.without_graphs})" if task.without_graphs else "this run rules them out"
        raise Unsupported(f"no CUDA graph: {failed}")
    why_not = partial(randomness.why_not_repeated, step, step, task.config.execution.compile)
    try:
        return Step(captured(accelerator.named(task.device), step, why_not=why_not), step.batch)
    except CannotCapture as reason:
        raise Unsupported(f"no CUDA graph: {reason}") from None


def try_step(make: MakeStep, task: Task) -> Tensor | None:
    """What a step of two images returns with nothing made ready for it; None for the suite's own networks, which run.

    What is worked out without running it would hold for a network that does not run as it is told to.
    """
    return None if task.spec.name in REGISTRY else _tried(make, task)


def _tried(make: MakeStep, task: Task) -> Tensor:
    return make(task.with_execution(replace(task.config.execution, compile=False, cuda_graphs=False)), 2)()


def check_compiled(forward: Callable[[], Tensor], execution: Execution) -> None:
    """A network that computes something else once it is compiled is no faster, but another.

    Raises:
        ValueError: its logits are not those of the network as written.
    """
    if not execution.compile:
        return

    def eager() -> Tensor:
        with as_written():
            return forward()

    difference = _changed(eager, forward, execution)
    if difference is not None:
        raise ValueError(
            f"torch.compile changes what the network computes: its logits are {difference:.2g} of their norm from the "
            f"eager ones, where {execution.precision} allows {TOLERANCE[execution.precision]:g}"
        )


def _changed(expected: Callable[[], Tensor], other: Callable[[], Tensor], execution: Execution) -> float | None:
    """How far other logits are from the expected ones, as a share of their norm; None if no farther than rounding.

    Also None where a network draws random numbers: it never computes the same twice, and is not held against itself.

    Raises:
        ValueError: the expected ones are infinite or not a number.
    """
    tolerance = TOLERANCE[execution.precision]
    # Without what a pass keeps for its gradient: one has to fit into memory, not three.
    first, again = expected().detach(), expected().detach()
    check_finite(first, execution)
    if _apart(first, again) > tolerance:
        return None
    difference = _apart(first, other())
    return None if difference <= tolerance else difference  # which may be none of a number


def _apart(expected: Tensor, other: Tensor) -> float:
    expected, other = (each.detach().cpu().double() for each in (expected, other))  # some devices have no such numbers
    return float((other - expected).norm() / expected.norm())


def check_finite(output: Tensor, execution: Execution) -> None:
    """A network that computes nonsense is broken, however fast.

    Raises:
        ValueError: the output is infinite or not a number.
    """
    if not bool(torch.isfinite(output).all()):
        hint = " (fp16 ends at 65,504; bf16 does not)" if execution.precision == "fp16" else ""
        raise ValueError(f"the network's output is infinite or not a number{hint}")


def timed_reading(
    task: Task,
    timing: Timing,
    value: float,
    batch_size: int,
    asked_batch_size: int | None = None,
    samples: tuple[float, ...] = (),
    note: str = "",
) -> Reading:
    """A number that was found by timing steps, with what a reader of it must know."""
    fitted = asked_batch_size in (None, batch_size)
    smaller = "" if fitted else f"batch {asked_batch_size} did not fit into memory"
    return Reading(
        value,
        samples=samples,
        batch_size=batch_size,
        asked_batch_size=asked_batch_size,
        cuda_graphs=bool(task.config.execution.cuda_graphs),
        device=task.device,
        note=joined(smaller, note, timing.note),
        flags=timing.flags,
        clock_mhz=timing.clock_mhz,
    )


def attempted(metrics: Iterable[str], task: Task, read: Callable[[Task], Mapping[str, Answer]]) -> Mapping[str, Answer]:
    """What `read` finds, or for each metric why it finds nothing: a failure costs its own numbers only."""
    try:
        return read_in_a_format_that_runs(task, read)
    except Exception as reason:
        return dict.fromkeys(metrics, by_its_name(reason))
    finally:
        release_memory()


def one_by_one(
    task: Task, parts: Sequence[tuple[Sequence[str], Callable[[Task], Mapping[str, Answer]]]]
) -> Measurement:
    """What each part finds, by the metrics that it is for.

    Where a part leaves the device broken, those after it are left for a fresh process: their numbers owe it nothing.
    """
    device, readings = accelerator.named(task.device), dict[str, Answer]()
    wanted = [part for part in parts if set(part[0]) & set(task.only)] or parts
    for number, (metrics, read) in enumerate(wanted, 1):
        readings |= attempted(metrics, task, read)
        try:
            device.synchronise()
        except RuntimeError:
            return Measurement(readings, left=tuple(chain(*(metrics for metrics, _ in wanted[number:]))))
    return Measurement(readings)


def read_in_a_format_that_runs(task: Task, read: Callable[[Task], Mapping[str, Answer]]) -> Mapping[str, Answer]:
    """What `read` finds, with the memory format in which it was found where that is not the run's."""
    readings, used, note = in_a_format_that_runs(task, read)
    return {
        metric: replace(answer, memory_format=used.config.execution.memory_format, note=joined(answer.note, note))
        if note and isinstance(answer, Reading)
        else answer
        for metric, answer in readings.items()
    }


def in_a_format_that_runs(task: Task, attempt: Callable[[Task], Result]) -> tuple[Result, Task, str]:
    """`attempt` in the run's memory format, or in contiguous tensors if the user has chosen none.

    The second where it fails in the first, or the network computes something else there.

    Also the task as it was attempted last, and a note: empty, or why that is another format.

    Raises:
        RuntimeError: it does so in the format that the user has chosen, and not in contiguous tensors.
        Exception: what `attempt` raises in any other case.
    """
    execution = task.config.execution
    contiguous = task.with_execution(replace(execution, memory_format="contiguous"))
    if reason := _changed_by_channels_last(task.spec, execution, "cpu" if task.device == "meta" else task.device):
        if not task.config.any_memory_format:
            raise RuntimeError(f"it {reason}: use --memory-format contiguous")
        return attempt(contiguous), contiguous, f"contiguous, as the network {reason}"
    try:
        return attempt(task), task, ""
    except Exception as error:
        if execution.memory_format == "contiguous" or isinstance(error, Unsupported) or is_out_of_memory(error):
            raise
        failed = error.with_traceback(None)
    try:
        result = attempt(contiguous)
    except Exception:
        raise failed from None  # the format is not at fault
    reason = f"{type(failed).__name__}: {first_line(failed)}"
    if not task.config.any_memory_format:
        raise RuntimeError(f"it fails in channels_last and runs with --memory-format contiguous ({reason})")
    return result, contiguous, f"contiguous, as the network does not run in channels_last ({reason})"


@lru_cache(maxsize=64)
def _changed_by_channels_last(spec: ModelSpec, execution: Execution, device: str) -> str:
    """That and how far its logits are others there, as where it reads strides; empty if not, or if it does not run.

    Asked of a user's own networks alone.
    """
    if execution.memory_format == "contiguous" or is_known(spec.name):
        return ""

    def logits_in(laid_out: MemoryFormat) -> Tensor:
        config = Config(execution=replace(execution, memory_format=laid_out))
        return _tried(inference_step, Task(spec, config, device=device))

    try:
        apart = _changed(lambda: logits_in("contiguous"), lambda: logits_in("channels_last"), execution)
    except Exception:
        return ""
    if apart is None:
        return ""
    return (
        f"computes something else in channels_last: its logits are {apart:.2g} of their norm from the contiguous ones"
    )
