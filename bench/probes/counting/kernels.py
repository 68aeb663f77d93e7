"""What a step asks of a device: its kernels, each with the bytes that it moves and the operations that it computes.

An operator of eager PyTorch is a kernel of its own: it reads its inputs from memory and writes its outputs there, and
no two of them share what they read. Caches and compilers that fuse operators make a real device move less (Williams et
al. 2009, "Roofline", section 2).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench.config import Execution
from bench.device import accelerator
from bench.device.execution import for_inference, inference_dtype, memory_format
from bench.models import ModelSpec
from bench.probes.counting.imitation import Shortcuts, imitated, open_attention
from bench.probes.counting.networks import counted, images_for
from bench.probes.counting.operators import Mode, decomposed, formula_of, is_composite, parts_of, tensors_in, work_of
from bench.probes.counting.replay import replayed_step
from bench.training.recipes import Recipe

BATCH = 61  # a prime: no width of a network is a multiple of it, so what belongs to the images can be told from weights
_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default  # one kernel, though PyTorch can take it apart
_TENSORS_AT_ONCE = 30  # that a kernel of a fused optimizer updates


class Kernel(NamedTuple):
    """Of one image where it grows with the batch."""

    flops: float
    bytes: float
    fixed_bytes: float  # of weights, whatever the batch
    width: int  # channels of a group, in or out, whichever are fewer; 0 where it is no convolution


@dataclass(frozen=True)
class Kernels:
    """Of one step, each with how often it occurs."""

    calls: tuple[tuple[Kernel, int], ...]
    convolutions: int  # that differ in their shapes: a library chooses how to compute each of them once

    @property
    def launches(self) -> int:
        return sum(count for _, count in self.calls)

    @property
    def flops(self) -> float:
        """Of one image."""
        return sum(kernel.flops * count for kernel, count in self.calls)


@dataclass(frozen=True)
class StepKernels:
    """Of a network's two steps."""

    inference: Kernels
    train: Kernels
    params: int


def count_kernels(
    spec: ModelSpec, recipe: Recipe, execution: Execution, kind: accelerator.KernelKind, device: str
) -> StepKernels:
    """Those of a forward pass and of a training step; `device` is not used.

    Raises:
        Exception: whatever the network raises.
    """
    execution = replace(execution, compile=False)

    def inference(network: nn.Module) -> Kernels:
        images = images_for(network, BATCH, spec.input_size).to(inference_dtype(execution))
        network = for_inference(network, execution, images.device)
        counter = KernelCounter()
        with torch.inference_mode(), open_attention(), imitated(kind), Shortcuts(), counter:
            network(images.to(memory_format=memory_format(execution)))
        return counter.kernels()

    def training(network: nn.Module) -> tuple[Kernels, int]:
        step, counter = replayed_step(network, spec, recipe, execution, kind, BATCH), KernelCounter()
        step.optimizer.register_step_pre_hook(lambda *_: counter.pause())
        step.optimizer.register_step_post_hook(lambda *_: counter.pause(False))
        with imitated(kind), Shortcuts(), counter:
            step.take()
        counter.add_update(step.trainable)
        return counter.kernels(), sum(weight.numel() for weight in step.trainable)

    train, params = counted(spec, training)[0]
    return StepKernels(counted(spec, inference)[0], train, params)


class KernelCounter(Mode):
    """Notes every kernel while it is entered: of tensors with data, or without."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = 0  # bytes, for the whole batch
        self._calls: Counter[Kernel] = Counter()
        self._convolutions: set[tuple[Any, ...]] = set()
        self._paused = False

    def pause(self, paused: bool = True) -> None:
        self._paused = paused

    def kernels(self) -> Kernels:
        return Kernels(tuple(self._calls.items()), len(self._convolutions))

    def add_update(self, weights: Iterable[Tensor]) -> None:
        """The kernels of a fused optimizer: gradient, weight and one momentum are read, the last two written."""
        sizes = [_bytes(weight) for weight in weights]
        kernels = math.ceil(len(sizes) / _TENSORS_AT_ONCE)
        if kernels:
            self._calls[Kernel(0, 0, 5 * sum(sizes) / kernels, 0)] += kernels

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not _ATTENTION and is_composite(func):
            with self:
                return decomposed(func, *args, **kwargs)
        out = func(*args, **kwargs)
        tensors = [] if self._paused else _moved(func, args, kwargs, out)
        if tensors:
            self._note(func, args, kwargs, out, tensors)
        return out

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, tensors: list[Tensor]) -> None:
        self.moved += sum(map(_bytes, tensors))
        name = func.__name__.partition(".")[0]
        formula = formula_of(func)
        flops = 2 * work_of(formula, out, args, kwargs).macs if formula else 0
        scaled = sum(_bytes(tensor) for tensor in tensors if tensor.numel() % BATCH == 0)
        fixed = sum(map(_bytes, tensors)) - scaled
        width, kernels = 0, 1
        if "convolution" in name:
            backward = name == "convolution_backward"
            weight = args[2] if backward else args[1]
            groups = args[-2] if backward else args[8]
            width = min(weight.shape[0] // groups, weight.shape[1])
            if backward:
                kernels = max(1, sum(tensor is not None for tensor in out[:2]))  # of the images, and of the weights
                flops = 2 * kernels * args[0].numel() * weight[0].numel()  # PyTorch's formula leaves out the groups
            else:
                self._convolutions.add((args[0].shape, weight.shape, *map(tuple, args[3:6]), groups))
        self._calls[Kernel(flops / BATCH / kernels, scaled / BATCH / kernels, fixed / kernels, width)] += kernels


def _moved(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> list[Tensor]:
    """What one operator reads and writes, twice what it does both with."""
    name = func.__name__
    inputs, outputs = _parts((args, kwargs)), _parts(out)
    changed = _parts(_written(func, args, kwargs))
    held = {tensor.untyped_storage()._cdata for tensor in inputs}
    made = [tensor for tensor in outputs if tensor.untyped_storage()._cdata not in held]
    if "empty" in name or not (made or changed):  # nothing is written: an allocation, or a view
        return []
    only_asks_for_a_shape = name.startswith("new_") or name.endswith("_like")
    read = [] if only_asks_for_a_shape else inputs
    return [*_distinct(read), *_distinct(made), *_distinct(changed)]


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """What an operator's schema says that it changes."""
    if not isinstance(func, torch._ops.OpOverload):
        return []  # an operator that takes functions writes nothing but its result
    declared = func._schema.arguments
    named = [(argument, kwargs[argument.name]) for argument in declared if argument.name in kwargs]
    bound = (*zip(declared, args, strict=False), *named)
    return [value for argument, value in bound if argument.alias_info is not None and argument.alias_info.is_write]


def _parts(values: Any) -> list[Tensor]:
    return [part for tensor in tensors_in(values) for part in parts_of(tensor)]


def _distinct(tensors: list[Tensor]) -> list[Tensor]:
    """Without repetitions, as in x * x."""
    return list({_storage(tensor): tensor for tensor in tensors}.values())


def _storage(tensor: Tensor) -> tuple[Any, ...]:
    """What two tensors of the same elements share."""
    return tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape, tensor.stride()


def _bytes(tensor: Tensor) -> int:
    """Of its elements that exist: along a dimension of stride 0 there is only one."""
    elements = math.prod(size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride != 0)
    return elements * tensor.element_size()
