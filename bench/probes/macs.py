"""Multiply-accumulates of one image, and twice that: FLOPs."""

from __future__ import annotations

from bench.config import Task
from bench.models import ModelSpec
from bench.probes.counting.layers import layer_products
from bench.probes.reading import Measurement, Reading


def forward_macs(spec: ModelSpec) -> int:
    """Multiply-accumulates of convolution, linear and attention products for one image in eval mode."""
    return sum(call.macs for call in layer_products(spec))


def measure(task: Task) -> Measurement:
    macs = forward_macs(task.spec)
    return Measurement({"macs": Reading(macs), "flops": Reading(2 * macs)})
