"""Numbers that must not be read like their neighbours are marked, and the marks know what the probes write."""

from __future__ import annotations

import itertools

import pytest

from bench.device.timing import steady_samples
from bench.metrics import METRICS
from bench.render.results import Results, read_results
from bench.render.tables.text import (
    ABOVE_PEAK,
    CHANCE,
    INCOMPLETE,
    LAUNCH_BOUND,
    LOWER_BOUND,
    PREDICTED,
    SMALLER_BATCH,
    THROTTLED,
    UNSTEADY,
    Mark,
    marks_of,
)
from tests.render.conftest import RunBuilder, bad, listed, ok, training

A = listed("a_cifar", "a", 2015, "cifar")


def marks(results: Results, metric: str) -> tuple[Mark, ...]:
    return marks_of(results, results.models[0], metric)


def test_a_plain_number_has_none(build: RunBuilder) -> None:
    rows = [*training("a_cifar", 0.5), ok("a_cifar", "train_images_per_s", 10, batch_size=8, asked_batch_size=8)]
    results = read_results(build([A], rows))
    assert marks(results, "train_images_per_s") == marks(results, "top1") == ()


def test_chance(build: RunBuilder) -> None:
    assert marks(read_results(build([A], training("a_cifar", 0.1))), "top1") == (CHANCE,)


def test_a_drifting_step_in_one_of_three_rounds(build: RunBuilder) -> None:
    # The flag is what the clock gives a step that slows down, not what this test thinks it gives.
    now, steps = [0.0], itertools.count()

    def slower_and_slower() -> None:
        now[0] += 0.001 * (1 + 0.005 * next(steps))

    flags = steady_samples(slower_and_slower, lambda: None, 1.0, clock=lambda: now[0]).flags
    rows = [ok("a_cifar", "train_images_per_s", 10, round=n, flags=flags if n == 1 else ()) for n in range(3)]
    results = read_results(build([A], rows))
    assert marks(results, "train_images_per_s") == (UNSTEADY,)


def test_a_clock_that_was_held_back(build: RunBuilder) -> None:
    rows = [ok("a_cifar", "train_images_per_s", 10, round=n, flags=("throttled",) if n == 1 else ()) for n in range(3)]
    assert marks(read_results(build([A], rows)), "train_images_per_s") == (THROTTLED,)


def test_a_launch_bound_step_marks_its_throughput_too(build: RunBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.config import Budget, Config, Task
    from bench.device.timing import Timing
    from bench.models import REGISTRY
    from bench.probes import speed

    # 30 ms per step of which the device works 10: what the probe makes of it, without a GPU.
    monkeypatch.setattr(speed, "_timed", lambda *_: (Timing((0.03,) * 9, 1, ""), (0.01,) * 9, {}))
    config = Config("quick", (), Budget(1, "ep"), 1, "auto", {"cifar": 8}, None, None, 0.1, None)
    readings = speed.throughput(Task(REGISTRY["lenet5_cifar"], config)).readings
    rows = [ok("a_cifar", name, r.value, flags=r.flags) for name, r in readings.items() if not isinstance(r, Exception)]
    assert {row.metric for row in rows} >= {"train_images_per_s", "train_device_ms"}
    results = read_results(build([A], rows))
    assert marks(results, "train_images_per_s") == marks(results, "train_device_ms") == (LAUNCH_BOUND,)
    assert marks(results, "latency_ms") == ()


def test_a_count_that_is_a_lower_bound_marks_all_that_rests_on_it(build: RunBuilder) -> None:
    rows = [ok("a_cifar", name, 1e9, device="meta", flags=("lower_bound",)) for name in ("macs", "flops")]
    rows += [ok("a_cifar", "train_images_per_s", 10, batch_size=8, device="cpu"), ok("a_cifar", "params", 10)]
    rows += [ok("a_cifar", name, 5, dataset="cifar10", budget="2pflop") for name in ("train_flops", "train_loss")]
    results = read_results(build([A], rows, limits={"cpu": {"precision": "fp32", "peak_flops_per_s": 1e12}}))
    bounded = {"macs", "flops", "mfu", "train_flops", "train_loss"}
    assert {metric for metric in METRICS if marks(results, metric) == (LOWER_BOUND,)} == bounded
    assert marks(results, "params") == marks(results, "train_images_per_s") == ()
    epochs = [ok("a_cifar", "macs", 1.0, flags=("lower_bound",)), ok("a_cifar", "train_loss", 5, budget="2ep")]
    assert marks(read_results(build([A], epochs, "another")), "train_loss") == ()


def test_more_than_the_device_can_do_is_no_share(build: RunBuilder) -> None:
    rows = [ok("a_cifar", "flops", 1e9), ok("a_cifar", "train_images_per_s", 500, batch_size=8, device="cpu")]
    results = read_results(build([A], rows, limits={"cpu": {"precision": "fp32", "peak_flops_per_s": 1e12}}))
    assert results.cell("a_cifar", "mfu").value == 1.5
    assert marks(results, "mfu") == (ABOVE_PEAK,)


def test_another_batch_than_asked(build: RunBuilder) -> None:
    rows = [ok("a_cifar", "train_images_per_s", 10, batch_size=4, asked_batch_size=8)]
    assert marks(read_results(build([A], rows)), "train_images_per_s") == (SMALLER_BATCH,)


def test_a_prediction(build: RunBuilder) -> None:
    rows = [ok("a_cifar", "peak_training_bytes", 10, predicted=True)]
    assert marks(read_results(build([A], rows)), "peak_training_bytes") == (PREDICTED,)


def test_a_failed_round_among_good_ones(build: RunBuilder) -> None:
    rows = [ok("a_cifar", "latency_ms", 1.0), bad("a_cifar", "latency_ms", "timeout", "took over 9 s", round=1)]
    results = read_results(build([A], rows))
    assert marks(results, "latency_ms") == (INCOMPLETE,)
    assert [row.note for row in results.cell("a_cifar", "latency_ms").lost] == ["took over 9 s"]


def test_no_number_no_mark(build: RunBuilder) -> None:
    results = read_results(build([A], [bad("a_cifar", "latency_ms", "oom", "not steady")]))
    assert marks(results, "latency_ms") == ()
