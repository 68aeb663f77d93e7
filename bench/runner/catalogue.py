"""What the registry holds, as rows: one per network, or one per layer of a network."""

from __future__ import annotations

from typing import Any

from bench.models import ModelSpec
from bench.probes.counting.layer_table import layer_table
from bench.probes.counting.layers import build_on_meta, layer_products
from bench.probes.macs import forward_macs
from bench.probes.params import trainable_params
from bench.probes.saved_activations import saved_per_image


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
    return layer_table(layer_products(spec), saved_per_image(build_on_meta(spec), spec))
