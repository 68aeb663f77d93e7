"""What the registry holds, as rows: one per network, or one per layer of a network."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from bench.probes.layers import build_on_meta, layer_products
from bench.probes.macs import forward_macs
from bench.probes.params import trainable_params
from bench.probes.saved_activations import BytesByCall, saved_per_image
from models.spec import ModelSpec


def network_row(spec: ModelSpec) -> dict[str, Any]:
    """The facts of one network that need no measuring; MACs are counted on the meta device."""
    return {
        "name": spec.name,
        "family": spec.family,
        "year": spec.year,
        "track": spec.track,
        "input_size": list(spec.input_size),
        "params": trainable_params(spec),
        "macs": forward_macs(spec),
        "paper": spec.paper,
    }


def layer_rows(spec: ModelSpec) -> list[dict[str, Any]]:
    """Every call of every module, in order: its output for one image, parameters, MACs and saved bytes per image.

    The columns add up to the network's `params`, `macs`, `activations` and `saved_activation_bytes`.
    """
    calls = layer_products(spec)
    saved = _mean(saved_per_image(build_on_meta(spec), spec))
    rows = {
        call.key: {
            "layer": call.path,
            "operation": call.operation,
            "output_shape": list(call.output_shape[1:]),
            "params": call.params,
            "macs": call.macs,
            "activations": call.activations,
            "saved_activation_bytes": saved.get(call.key, 0),
        }
        for call in calls
    }
    training_only = [key for key, amount in saved.items() if key not in rows and amount]
    order = _in_order(list(rows), list(saved), training_only)
    for path, occurrence in training_only:
        rows[path, occurrence] = {
            "layer": path,
            "operation": "in training",
            "output_shape": [],
            "params": 0,
            "macs": 0,
            "activations": 0,
            "saved_activation_bytes": saved[path, occurrence],
        }
    return [rows[key] for key in order]


def _mean(draws: Sequence[BytesByCall]) -> BytesByCall:
    """Per call over all draws; a call that a draw left out kept nothing in it."""
    keys = dict.fromkeys(key for draw in draws for key in draw)
    return {key: statistics.fmean(draw.get(key, 0.0) for draw in draws) for key in keys}


def _in_order(
    inference: list[tuple[str, int]], training: list[tuple[str, int]], training_only: list[tuple[str, int]]
) -> list[tuple[str, int]]:
    """The calls of both passes as one list: those that only training makes come after their predecessor there."""
    order = list(inference)
    for key in training_only:
        before = training[: training.index(key)]
        known = [order.index(earlier) for earlier in before if earlier in order]
        order.insert(max(known, default=-1) + 1, key)
    return order
