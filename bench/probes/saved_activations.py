"""What one more image in the batch costs in memory while a network trains."""

from __future__ import annotations

import statistics
from dataclasses import replace

from torch import nn

from bench.config import Task
from bench.models import ModelSpec
from bench.probes.counting.layers import BytesByCall, layer_products, layer_table, saved_tensors
from bench.probes.counting.networks import counted
from bench.probes.reading import Measurement, Reading

DRAWS = 16  # of a network that keeps other blocks in every step


def measure(task: Task) -> Measurement:
    """Slope over the batch size of the bytes that autograd keeps, in training mode at fp32, loss included.

    A network that drops blocks at random keeps fewer bytes in some steps than in others: then the value is the mean
    over many draws, and the draws are the samples.
    """
    spec = task.spec
    draws, notes = saved_per_image(spec)
    totals = [sum(draw.values()) for draw in draws]
    reading = Reading(statistics.fmean(totals), note="; ".join(notes))
    if len(set(totals)) > 1:
        random = f"blocks are dropped at random: mean of {DRAWS} draws, {min(totals):.0f} to {max(totals):.0f}"
        reading = replace(reading, samples=tuple(totals), note="; ".join((random, *notes)))
    try:
        layers = tuple(layer_table(layer_products(spec).calls, draws))
    except Exception:  # inference fails where training does not; the rows of the counts say how
        layers = ()
    return Measurement({"saved_activation_bytes": reading}, layers=layers)


def saved_per_image(spec: ModelSpec) -> tuple[list[BytesByCall], list[str]]:
    """Saved bytes per image of every call, and notes: one draw, or `DRAWS` if the network decides at random."""

    def draws(network: nn.Module) -> tuple[list[BytesByCall], bool]:
        first, random, fused = _slope(network, spec, seed=0)
        more = [_slope(network, spec, seed)[0] for seed in range(1, DRAWS)] if random else []
        return [first, *more], fused

    (found, fused), place = counted(spec, draws)
    attention = "attention as the fused kernel of a CPU keeps it: no scores" if fused else ""
    return found, [note for note in (attention, place) if note]


def _slope(network: nn.Module, spec: ModelSpec, seed: int) -> tuple[BytesByCall, bool, bool]:
    """Between batches of two and four images, what does not grow with the batch falls away.

    Also whether the network drew random numbers, and whether its attention was fused.
    """
    small, large = (saved_tensors(network, spec.input_size, spec.num_classes, images, seed) for images in (2, 4))
    before = {call.key: call.saved for call in small.calls}
    bytes_ = {call.key: (call.saved - before.get(call.key, 0)) / 2 for call in large.calls}
    return bytes_, large.random, large.fused
