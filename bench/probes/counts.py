"""What a network consists of and computes: parameters, multiply-accumulates and output elements of products."""

from __future__ import annotations

from dataclasses import replace

from torch.nn.parameter import is_lazy

from bench.config import Task
from bench.models import ModelSpec
from bench.probes.counting.layers import layer_products
from bench.probes.reading import Measurement, Reading


def params(task: Task) -> Measurement:
    """Trainable parameters, those that no pass uses among them, which the note names.

    A network that cannot be run still has its parameters, unless a pass is what makes them.
    """
    try:
        found = layer_products(task.spec)
    except Exception:
        spec = task.spec
        parameters = list(spec.build(num_classes=spec.num_classes).parameters())
        if any(map(is_lazy, parameters)):
            raise
        count = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        return Measurement({"params": Reading(count, note="the network was built and not run")})
    return Measurement({"params": Reading(found.params, note=found.unused_note)})


def macs(task: Task) -> Measurement:
    """Multiply-accumulates, twice that (FLOPs), and the share of operators for which nobody has said how many."""
    found = layer_products(task.spec)
    reading = Reading(found.macs, note=found.note, flags=found.flags)
    return Measurement(
        {
            "macs": reading,
            "flops": replace(reading, value=2 * found.macs),
            "uncounted_share": replace(reading, value=found.unknown_share),
        }
    )


def activations(task: Task) -> Measurement:
    """Output elements of convolution, linear and attention products for one image in eval mode."""
    found = layer_products(task.spec)
    return Measurement({"activations": Reading(found.activations, note=found.note, flags=found.flags)})


def forward_macs(spec: ModelSpec) -> int:
    """Multiply-accumulates of one image in eval mode."""
    return layer_products(spec).macs
