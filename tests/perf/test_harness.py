"""What our way of timing costs, against a bare loop.

Run with `python -m pytest -m perf tests/perf/test_harness.py -s`; takes about five minutes.
"""

import os
import statistics
import time
from collections.abc import Callable

import pytest
import torch

from bench.config import PRESETS, Execution, Task
from bench.device import accelerator
from bench.device.execution import arithmetic
from bench.device.timing import Step, steady_samples
from bench.models import REGISTRY
from bench.probes.steps import MakeStep, inference_step, training_step
from bench.stats import median_interval
from tests.configs import config

pytestmark = pytest.mark.perf

CUDA = torch.cuda.is_available()
DEVICE = accelerator.named("cuda:0" if CUDA else "cpu")
NETWORKS = [
    "lenet5_cifar",
    "resnet20_cifar",
    "vgg11_bn_cifar",
    "squeezenet_cifar",
    "densenet40_k12_cifar",
    "vit_tiny_cifar",
]
PAIRS = int(os.environ.get("BENCH_PERF_PAIRS", "40"))
CONFIG = config(
    measure_seconds=PRESETS["standard" if CUDA else "quick"].measure_seconds,
    execution=Execution("bf16", "channels_last") if CUDA else Execution(),
)


def reported(step: Step, seconds: float) -> float:
    """Seconds of a step as the throughput probe takes them."""
    timing = steady_samples(step, DEVICE.synchronise, seconds, shortest_sample_s=DEVICE.sizes.shortest_sample_s)
    return statistics.median(timing.seconds)


def bare(step: Step, seconds: float) -> float:
    """The same by hand: on a GPU one wait at the end of them all, on a CPU a stopwatch around each."""
    if CUDA:
        DEVICE.synchronise()
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            step()
            steps += 1
        DEVICE.synchronise()
        return (time.perf_counter() - start) / steps
    times: list[float] = []
    while sum(times) < seconds:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@pytest.mark.parametrize("kind", ["inference", "train"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_harness_costs_nothing(name: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Both take turns on the very same step, in random order within a pair; the ratio of each pair counts."""
    make: MakeStep = inference_step if kind == "inference" else training_step
    ours: Callable[[Step, float], float] = reported
    with arithmetic(CONFIG.execution.precision):
        step = make(Task(REGISTRY[name], CONFIG, device=DEVICE.word), 8)
        for _ in range(5):
            step()
        seconds = max(0.1, 6 * bare(step, 0.1))
        ratios = []
        for pair in range(PAIRS):
            methods = (ours, bare) if pair % 2 else (bare, ours)
            found = {method: method(step, seconds) for method in methods}
            ratios.append(found[ours] / found[bare])
    low, high = median_interval(ratios)
    with capsys.disabled():
        print(f"\n{name} {kind}: harness / bare loop {statistics.median(ratios):.4f}, 95 % {low:.4f} to {high:.4f}")
    assert low < 1.01
    assert high > 0.99
    assert abs(statistics.median(ratios) - 1) < 0.01


def test_a_sleep_of_known_length_is_reported_within_one_percent() -> None:
    """Of the median; a machine that oversleeps is not to blame on the harness, so that it needs a quiet one."""
    assert reported(lambda: sleeping(0.05), 2.0) == pytest.approx(0.05, rel=0.01)


def sleeping(seconds: float) -> torch.Tensor:
    time.sleep(seconds)
    return torch.zeros(())
