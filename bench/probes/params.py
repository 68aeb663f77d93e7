"""Trainable parameters."""

from __future__ import annotations

from bench.config import Config
from bench.probes.layers import build_on_meta
from bench.probes.reading import Measurement, Reading
from models.spec import ModelSpec


def measure(spec: ModelSpec, config: Config) -> Measurement:
    """Elements of all trainable parameters; a tensor that is used twice counts once."""
    network = build_on_meta(spec)
    count = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return Measurement({"params": Reading(count)})
