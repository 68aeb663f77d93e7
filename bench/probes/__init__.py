"""A measurement is a function of a task, beside others that share its apparatus; `bench.metrics.PROBES` lists them all.

A module whose measurements can say without a device that they do not apply has a function `require(task)`, which
raises `Unsupported`.
A `Task` is all that a probe gets: the network (`task.spec`), what the run is (`task.config`), what was found for it
(`task.inputs`), and where and how this piece of it is measured: `device`, `seed`, `round`, `budget`, `batch_size`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from bench.config import Task
from bench.metrics import PROBES, Probe
from bench.probes.reading import Measurement, Unsupported

Measure = Callable[[Task], Measurement]


def refusal(task: Task) -> str:
    """Why a task's only probe does not apply, where that needs no device to be known; else empty."""
    if len(task.probes) == 1:
        require = getattr(import_module(MEASURE[task.probes[0]].__module__), "require", None)
        try:
            if require is not None:
                require(task)
        except Unsupported as reason:
            return str(reason)
    return ""


def _measure(probe: Probe) -> Measure:
    module, _, function = (probe.code or f"{probe.name}.measure").rpartition(".")
    found: Measure = getattr(import_module(f"bench.probes.{module}"), function)
    return found


MEASURE: dict[str, Measure] = {name: _measure(probe) for name, probe in PROBES.items()}
