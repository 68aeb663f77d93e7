"""One file per measurement, each with one function `measure(spec, config)`."""

from __future__ import annotations

from collections.abc import Callable

from bench.config import Config
from bench.probes import (
    accuracy,
    activations,
    best_batch,
    energy,
    gradient_flow,
    latency,
    macs,
    macs_fvcore,
    memory,
    params,
    saved_activations,
    throughput,
    traffic,
    tuning,
)
from bench.probes.reading import Measurement
from models.spec import ModelSpec

Probe = Callable[[ModelSpec, Config], Measurement]

# In the order of bench.metrics.PROBE_NAMES, which the command line knows without importing torch.
PROBES: dict[str, Probe] = {
    "params": params.measure,
    "macs": macs.measure,
    "macs_fvcore": macs_fvcore.measure,
    "activations": activations.measure,
    "saved_activation_bytes": saved_activations.measure,
    "traffic": traffic.measure,
    "throughput": throughput.measure,
    "latency": latency.measure,
    "best_batch": best_batch.measure,
    "memory": memory.measure,
    "energy": energy.measure,
    "tuning": tuning.measure,
    "gradient_flow": gradient_flow.measure,
    "accuracy": accuracy.measure,
}
