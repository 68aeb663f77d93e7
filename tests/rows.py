"""Rows of a run, as a probe's readings become them."""

from __future__ import annotations

from typing import Any

from bench.metrics import METRICS
from bench.records.record import Record


def ok(model: str, metric: str, value: float, **changes: Any) -> Record:
    """A measured row; probe and unit follow from the metric."""
    known = METRICS[metric]
    return Record(model, known.probe, metric, value, known.unit, "ok", **changes)


def bad(model: str, metric: str, status: Any, note: str, **changes: Any) -> Record:
    """A row without a value."""
    known = METRICS[metric]
    return Record(model, known.probe, metric, None, known.unit, status, note=note, **changes)
