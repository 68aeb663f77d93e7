"""How many bytes the operators of an inference pass move to and from memory, and how much they compute with each.

An operator of eager PyTorch is a kernel of its own: it reads its inputs from memory and writes its outputs there, and
no two of them share what they read. This is the traffic of that model, exact and the same on every device. Caches and
compilers that fuse operators make a real device move less (Williams et al. 2009, "Roofline", section 2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.config import Execution, Task
from bench.device.execution import for_inference, inference_dtype, memory_format
from bench.probes.counting.layers import layer_products
from bench.probes.counting.networks import Shortcuts, counted, images_for, open_attention
from bench.probes.counting.operators import decomposed, is_composite
from bench.probes.reading import Answer, Measurement, Reading, Unsupported
from bench.probes.steps import inference_step, read_in_a_format_that_runs, try_step

_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default  # one kernel, though PyTorch can take it apart


def measure(task: Task) -> Measurement:
    """Bytes per image at the batch size and precision of the run (weights are read once per batch); FLOPs per byte."""
    return Measurement(read_in_a_format_that_runs(task, _readings))


def _readings(task: Task) -> Mapping[str, Answer]:
    spec, batch_size = task.spec, task.batch_size
    tried = Execution(memory_format=task.config.execution.memory_format)
    try_step(inference_step, replace(task, device="cpu", config=replace(task.config, execution=tried)))
    execution = replace(task.config.execution, compile=False)

    def run(network: nn.Module) -> int:
        images = images_for(network, batch_size, spec.input_size).to(inference_dtype(execution))
        network = for_inference(network, execution, images.device)
        return bytes_moved(network, images.to(memory_format=memory_format(execution)))

    moved, place = counted(spec, run)
    traffic = Reading(moved / batch_size, batch_size=batch_size, asked_batch_size=batch_size, note=place)
    intensity: Answer = Unsupported("the network moves no bytes")
    if moved:
        found = layer_products(spec)
        intensity = replace(traffic, value=2 * found.macs / traffic.value, note=found.note, flags=found.flags)
    return {"traffic_bytes": traffic, "arithmetic_intensity": intensity}


def bytes_moved(network: nn.Module, images: Tensor) -> int:
    """Bytes that the operators of one forward pass read and write, for the whole batch, wherever the network is.

    An operator that changes a tensor in place reads and writes it. Views and uninitialised tensors are free; of a
    tensor that is expanded, what exists counts.
    """
    counter = _ByteCounter()
    with torch.inference_mode(), open_attention(), Shortcuts(), counter:
        network(images)
    return counter.moved


class _ByteCounter(TorchDispatchMode):
    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not _ATTENTION and is_composite(func):
            with self:
                return decomposed(func, *args, **kwargs)
        out = func(*args, **kwargs)
        self.moved += _moved(func, args, kwargs, out)
        return out


def _moved(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """Bytes that one operator reads and writes."""
    name = func.__name__
    inputs, outputs = _tensors((args, kwargs)), _tensors(out)
    changed = _tensors([value for argument, value in _bound(func, args, kwargs) if _is_written(argument)])
    held = {tensor.untyped_storage()._cdata for tensor in inputs}
    made = [tensor for tensor in outputs if tensor.untyped_storage()._cdata not in held]
    if "empty" in name or not (made or changed):  # nothing is written: an allocation, or a view
        return 0
    only_asks_for_a_shape = name.startswith("new_") or name.endswith("_like")
    read = [] if only_asks_for_a_shape else inputs
    return sum(map(_bytes, [*_distinct(read), *_distinct(made), *_distinct(changed)]))


def _bound(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[Any, Any]]:
    """The arguments of an operator's schema with their values."""
    if not isinstance(func, torch._ops.OpOverload):
        return []  # an operator that takes functions writes nothing but its result
    declared = func._schema.arguments
    named = [(argument, kwargs[argument.name]) for argument in declared if argument.name in kwargs]
    return [*zip(declared, args, strict=False), *named]


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _distinct(tensors: list[Tensor]) -> list[Tensor]:
    """Without repetitions, as in x * x."""
    return list({_place(tensor): tensor for tensor in tensors}.values())


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """What two tensors of the same elements share."""
    return tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape, tensor.stride()


def _bytes(tensor: Tensor) -> int:
    """Of its elements that exist: along a dimension of stride 0 there is only one."""
    elements = math.prod(size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride != 0)
    return elements * tensor.element_size()
