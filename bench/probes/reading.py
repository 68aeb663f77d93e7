"""What a probe returns, and how it declines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.config import MemoryFormat
from bench.metrics import Flag


class Unsupported(Exception):
    """This measurement does not apply to this network or this device; the message is the reason."""


@dataclass(frozen=True)
class Reading:
    """One metric as measured: the fields of a record that only the probe knows."""

    value: float
    samples: tuple[float, ...] = ()
    trials: int | None = None
    note: str = ""
    batch_size: int | None = None
    asked_batch_size: int | None = None  # where it had to be made smaller
    predicted: bool = False  # worked out, not measured
    flags: tuple[Flag, ...] = ()  # what a reader must be warned of; the note says it in words
    cuda_graphs: bool = False  # whether this was measured with them, whatever was asked
    memory_format: MemoryFormat | None = None  # where it is not the one of the run
    clock_mhz: float | None = None  # of the device while it was timed, if it tells
    device: str = "meta"


# What a probe says of a metric: a number, or why there is none. `Unsupported` is skipped, any other error has failed.
Answer = Reading | Exception


TableRows = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Measurement:
    """What a probe brings back: a reading or a reason for each metric, and what else it made."""

    readings: Mapping[str, Answer]
    tables: Mapping[str, TableRows] = field(default_factory=dict)  # by the run's folder: curves, confusions or layers
    left: tuple[str, ...] = ()  # metrics for a fresh process, as this one's device is broken
