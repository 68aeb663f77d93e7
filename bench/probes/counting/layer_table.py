"""What inference and training say of each call of each module, side by side: a network as a table of its layers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from bench.probes.counting.layers import Call

BytesByCall = dict[tuple[str, int], float]


def layer_table(calls: Sequence[Call], draws: Sequence[BytesByCall]) -> list[dict[str, Any]]:
    """A row for every call, in order: its output for one image, parameters, MACs, activations and saved bytes.

    `calls` are those of inference; `draws` have the bytes that one or several training steps save of each.
    """
    saved = _mean(draws)
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
