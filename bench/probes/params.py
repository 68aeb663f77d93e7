"""Trainable parameters."""

from __future__ import annotations

from bench.config import Task
from bench.models import ModelSpec
from bench.probes.counting.layers import build_on_meta
from bench.probes.reading import Measurement, Reading


def trainable_params(spec: ModelSpec) -> int:
    """Elements of all trainable parameters; a tensor that is used twice counts once."""
    return sum(parameter.numel() for parameter in build_on_meta(spec).parameters() if parameter.requires_grad)


def measure(task: Task) -> Measurement:
    return Measurement({"params": Reading(trainable_params(task.spec))})
