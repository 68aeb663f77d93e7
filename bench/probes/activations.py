"""Output elements of products: the size of what a network computes, whatever precision it is kept in."""

from __future__ import annotations

from bench.config import Task
from bench.probes.counting.layers import layer_products
from bench.probes.reading import Measurement, Reading


def measure(task: Task) -> Measurement:
    """Output elements of convolution, linear and attention products for one image in eval mode."""
    return Measurement({"activations": Reading(sum(call.activations for call in layer_products(task.spec)))})
