"""What one network spends its time on: a forward pass layer by layer, and a trace of a training step.

For `show`. Neither is a probe: hooks and profilers slow down what they watch.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.profiler import profile, supported_activities

from bench.config import Task
from bench.device import accelerator
from bench.device.execution import arithmetic, for_inference, inference_dtype, memory_format
from bench.device.timing import Laps
from bench.probes.counting.networks import fresh_network
from bench.probes.steps import training_step

MEASURE_SECONDS = 0.5
WARM_UP_STEPS = 3

Call = tuple[str, int]  # path of a module, and which call of it, from 0


def layer_milliseconds(task: Task) -> dict[Call, float]:
    """Median milliseconds of each call of a layer in a forward pass in eval mode; together they are the whole pass.

    A layer is a module that has no others in it. What a module with others computes itself is at its first call. In the
    precision and memory format of the run, not compiled.
    """
    spec, execution, device = task.spec, task.config.execution, accelerator.choose(task.device)
    torch.manual_seed(task.seed)
    network = fresh_network(spec, spec.num_classes)
    paths = {module: path for path, module in network.named_modules()}
    network = for_inference(network, replace(execution, compile=False), device.place)
    images = torch.randn(task.batch_size, *spec.input_size, device=device.place, dtype=inference_dtype(execution))
    images = images.to(memory_format=memory_format(execution))
    laps = Laps(device)
    entered, calls = [network], Counter[str]()

    def enter(module: nn.Module, _: object) -> None:
        laps((paths[entered[-1]], 0))
        entered.append(module)

    def leave(module: nn.Module, *_: object) -> None:
        path = paths[entered.pop()]
        number = 0 if any(True for _ in module.children()) else calls[path]
        laps((path, number))
        calls[path] += 1

    @torch.inference_mode()
    def forward() -> None:
        calls.clear()
        network(images)
        laps(("", 0))

    for module in paths:
        if module is not network and not isinstance(module, torch.jit.ScriptModule):
            module.register_forward_pre_hook(enter)
            module.register_forward_hook(leave)
    with arithmetic(execution.precision):
        for _ in range(WARM_UP_STEPS):
            forward()
        found = laps.of(forward, MEASURE_SECONDS)
    return {call: 1e3 * statistics.median(seconds) for call, seconds in found.items()}  # type: ignore[misc]


def trace(task: Task) -> str:
    """One training step, after a few to warm up, as chrome://tracing, Perfetto and TensorBoard read it: JSON.

    Raises:
        Unsupported: the network has no training step.
    """
    device = accelerator.choose(task.device)
    with arithmetic(task.config.execution.precision):
        step = training_step(task, task.batch_size)
        for _ in range(WARM_UP_STEPS):
            step()
        device.synchronise()
        with profile(activities=supported_activities(), record_shapes=True) as profiler:
            step()
            device.synchronise()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(file))
        return file.read_text(encoding="utf-8")
