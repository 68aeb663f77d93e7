"""What the registry holds, as rows: one per network, or one per layer of a network."""

from __future__ import annotations

from typing import Any

from bench.models import ModelSpec
from bench.probes.counting.layers import layer_products, layer_table
from bench.probes.saved_activations import saved_per_image


def network_row(spec: ModelSpec) -> dict[str, Any]:
    """The facts of one network that need no measuring."""
    found = layer_products(spec)
    return {
        "name": spec.name,
        "family": spec.family,
        "year": spec.year,
        "track": spec.track,
        "input_size": list(spec.input_size),
        "params": found.params,
        "macs": found.macs,
        "paper": spec.paper,
    }


def layer_rows(spec: ModelSpec) -> list[dict[str, Any]]:
    """Every call of every module, in order: its output for one image, parameters, MACs and saved bytes per image.

    The columns add up to the network's `params`, `macs`, `activations` and `saved_activation_bytes`.
    """
    return layer_table(layer_products(spec).calls, saved_per_image(spec)[0])
