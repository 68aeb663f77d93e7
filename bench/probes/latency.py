"""How long one image takes when it comes alone."""

from __future__ import annotations

from collections.abc import Mapping

from bench.config import Task
from bench.device import accelerator
from bench.device.execution import arithmetic
from bench.device.nvml import clocks
from bench.device.timing import steady_samples
from bench.metrics import metrics_of
from bench.probes.reading import Answer, Measurement, Reading
from bench.probes.steps import attempted, check_finite, inference_step
from bench.stats.intervals import percentile

LEAST_SAMPLES = 100  # below, a 99th percentile is the slowest sample


def measure(task: Task) -> Measurement:
    """Milliseconds of a forward pass at batch 1, waited for after each: median, 95th and 99th percentile."""
    return Measurement(attempted(metrics_of("latency"), task, _readings))


def _readings(task: Task) -> Mapping[str, Answer]:
    with arithmetic(task.config.execution.precision):
        step = inference_step(task, batch_size=1)
        with clocks(task.device) as clock:
            timing = steady_samples(
                step,
                accelerator.named(task.device).synchronise,
                task.config.measure_seconds,
                least_samples=LEAST_SAMPLES,
                shortest_sample_s=0.0,
                clocks=clock,
            )
        check_finite(step())
    ms = tuple(1e3 * seconds for seconds in timing.seconds)
    return {
        name: Reading(
            value=percentile(ms, share),
            # Once is enough: the other two are statistics of the same samples.
            samples=ms if name == "latency_ms" else (),
            batch_size=1,
            asked_batch_size=1,
            cuda_graphs=bool(task.config.execution.cuda_graphs),
            device=task.device,
            note=timing.note,
            flags=timing.flags,
            clock_mhz=timing.clock_mhz,
        )
        for name, share in (("latency_ms", 0.5), ("latency_p95_ms", 0.95), ("latency_p99_ms", 0.99))
    }
