"""What one more image in the batch costs in memory while a network trains."""

from __future__ import annotations

import statistics

from torch import nn

from bench.config import Task
from bench.models import ModelSpec
from bench.probes.counting.layer_table import BytesByCall, layer_table
from bench.probes.counting.layers import build_on_meta, layer_products, saved_tensors
from bench.probes.reading import Measurement, Reading

DRAWS = 16  # of a network that keeps other blocks in every step


def measure(task: Task) -> Measurement:
    """Slope over the batch size of the bytes that autograd keeps, in training mode at fp32, loss included.

    A network that drops blocks at random keeps fewer bytes in some steps than in others: then the value is the mean
    over many draws, and the draws are the samples.
    """
    spec = task.spec
    draws = saved_per_image(build_on_meta(spec), spec)
    layers = tuple(layer_table(layer_products(spec), draws))
    totals = [sum(draw.values()) for draw in draws]
    if len(totals) == 1:
        return Measurement({"saved_activation_bytes": Reading(totals[0])}, layers=layers)
    note = f"blocks are dropped at random: mean of {DRAWS} draws, {min(totals):.0f} to {max(totals):.0f}"
    reading = Reading(statistics.fmean(totals), samples=tuple(totals), note=note)
    return Measurement({"saved_activation_bytes": reading}, layers=layers)


def saved_per_image(network: nn.Module, spec: ModelSpec) -> list[BytesByCall]:
    """Saved bytes per image of every call: one draw, or `DRAWS` of them if the network decides at random."""
    first, random = _slope(network, spec, seed=0)
    if not random:
        return [first]
    return [first, *(_slope(network, spec, seed)[0] for seed in range(1, DRAWS))]


def _slope(network: nn.Module, spec: ModelSpec, seed: int) -> tuple[BytesByCall, bool]:
    """Between batches of two and four images, what does not grow with the batch falls away; and whether it drew."""
    small, large = (saved_tensors(network, spec.input_size, batch_size, seed) for batch_size in (2, 4))
    before = {call.key: call.saved for call in small.calls}
    return {call.key: (call.saved - before[call.key]) / 2 for call in large.calls}, large.random
