"""The two steps that the suite times, and the static pass, one benchmark per network.

    python -m pytest tests/perf/test_networks.py -m perf --benchmark-save=before
    python -m pytest tests/perf/test_networks.py -m perf --benchmark-compare --benchmark-compare-fail=median:10%

docs/regressions.md says how far to trust such a gate, and what to use instead.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.config import PRESETS, Task
from bench.device import accelerator
from bench.device.execution import arithmetic
from bench.models import REGISTRY, ModelSpec
from bench.probes import MEASURE
from bench.probes.counting.layers import layer_products
from bench.probes.reading import Reading
from bench.probes.steps import MakeStep, inference_step, training_step
from bench.runner.request import Request, resolve
from tests.perf.baselines import DEVICE

pytestmark = pytest.mark.perf

STEPS: dict[str, MakeStep] = {"inference": inference_step, "train": training_step}
COUNTS = ("params", "macs", "saved_activation_bytes")
WARM_UP_S = 0.5
ROUND_S = 0.01  # a round holds as many steps as fill this
ROUNDS = (5, 100)  # at least, at most


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    patterns = [word for word in metafunc.config.getoption("--networks").split(",") if word] or PRESETS["quick"].models
    names = [name for name in REGISTRY if any(fnmatchcase(name, pattern) for pattern in patterns)]
    metafunc.parametrize("spec", [REGISTRY[name] for name in names], ids=names)


def task(spec: ModelSpec) -> Task:
    """As `run` would have it on this device."""
    kind = DEVICE.partition(":")[0]
    resolved, _ = resolve(Request(device=DEVICE), (), kind)
    return Task(spec, resolved, device=DEVICE)


def counts(spec: ModelSpec) -> dict[str, float]:
    readings = {metric: MEASURE[metric](task(spec)).readings[metric] for metric in COUNTS}
    return {metric: reading.value for metric, reading in readings.items() if isinstance(reading, Reading)}


class Synchronised:
    """A step that waits for the device once per round, after the last of its steps."""

    def __init__(self, step: Callable[[], object], steps_per_round: int) -> None:
        self._step = step
        self._steps_per_round = steps_per_round
        self._taken = 0
        self._device = accelerator.named(DEVICE)

    def __call__(self) -> None:
        self._step()
        self._taken += 1
        if self._taken % self._steps_per_round == 0:
            self._device.synchronise()


def warm_seconds(step: Callable[[], object]) -> float:
    """Of one step, once libraries, caches and clocks have settled."""
    alone = Synchronised(step, 1)
    times: list[float] = []
    while sum(times) < WARM_UP_S or len(times) < 3:
        start = time.perf_counter()
        alone()
        times.append(time.perf_counter() - start)
    return statistics.median(times[len(times) // 2 :])


@pytest.mark.parametrize("what", STEPS)
def test_step(benchmark: BenchmarkFixture, spec: ModelSpec, what: str) -> None:
    work = task(spec)
    settings, batch_size = work.config, work.batch_size
    benchmark.group = what
    benchmark.extra_info.update(counts(spec), batch_size=batch_size, execution=str(settings.execution))
    with arithmetic(settings.execution.precision):
        step = STEPS[what](work, batch_size)
        seconds = warm_seconds(step)
        steps = max(1, math.ceil(ROUND_S / seconds))
        rounds = min(max(math.ceil(settings.measure_seconds / (steps * seconds)), ROUNDS[0]), ROUNDS[1])
        benchmark.pedantic(Synchronised(step, steps), rounds=rounds, iterations=steps)


def test_static_pass(benchmark: BenchmarkFixture, spec: ModelSpec) -> None:
    """Building a network without weights and counting all of it."""
    benchmark.group = "static pass"

    def count() -> dict[str, float]:
        layer_products.cache_clear()
        return counts(spec)

    benchmark.extra_info.update(benchmark.pedantic(count, rounds=3, warmup_rounds=1))
