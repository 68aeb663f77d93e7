"""How many bytes the operators of an inference pass move to and from memory, and how much they compute with each.

This is the traffic of the model of `bench.probes.counting.kernels`, exact and the same on every device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from bench.config import Execution, Task
from bench.device.execution import for_inference, inference_dtype, memory_format
from bench.probes.counting.kernels import KernelCounter
from bench.probes.counting.layers import layer_products
from bench.probes.counting.networks import Shortcuts, counted, images_for, open_attention
from bench.probes.reading import Answer, Measurement, Reading, Unsupported
from bench.probes.steps import inference_step, read_in_a_format_that_runs, try_step


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
    counter = KernelCounter()
    with torch.inference_mode(), open_attention(), Shortcuts(), counter:
        network(images)
    return counter.moved
