"""One file per measurement, with a function `measure(spec, config)`; `bench.metrics.PROBES` says what kind each is."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from bench.config import Config
from bench.metrics import PROBES, Probe
from bench.models import ModelSpec
from bench.probes.reading import Measurement

Measure = Callable[[ModelSpec, Config], Measurement]


def _measure(probe: Probe) -> Measure:
    module, _, function = (probe.code or f"{probe.name}.measure").rpartition(".")
    found: Measure = getattr(import_module(f"bench.probes.{module}"), function)
    return found


MEASURE: dict[str, Measure] = {name: _measure(probe) for name, probe in PROBES.items()}
