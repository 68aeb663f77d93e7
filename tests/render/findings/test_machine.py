"""The machine as the page states it, what it can do at most, and whether MACs predict its time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.records.record import Record
from bench.render.findings.machine import (
    execution_line,
    limits_grid,
    lowest_use,
    peaks_of,
    sessions_grid,
    work_and_time,
)
from bench.render.results import Results, read_results
from bench.render.results.derived import limits_of
from tests.render.conftest import FIXTURE_LIMITS, FIXTURE_SESSIONS, Reader, RunBuilder, gpu_run, ok


def test_the_states_of_the_machine_stand_side_by_side(build: RunBuilder) -> None:
    cut_short = {"started": "2026-02-01T08:00:00+00:00", "before": {"load_average_1min": 7.5}}
    grid = sessions_grid(build([], conditions=[*FIXTURE_SESSIONS, cut_short]).header)
    assert grid is not None
    assert grid.headings == (
        "",
        "before, 2026-01-31 12:00:05",
        "after, 2026-01-31 12:08:05",
        "before, 2026-02-01 08:00:00",
        "after",
    )
    assert grid.rows == (
        ("load average, 1 min", "0.31", "2.5", "7.5", "–"),
        ("cuda:0 temperature celsius", "31", "64", "–", "–"),
        ("cuda:0 throttle reasons", "none", "power cap", "–", "–"),
    )


def test_what_the_run_said_of_its_time_stands_beside_what_it_took(build: RunBuilder) -> None:
    times = {"predicted": {"throughput": 60.0, "trainings": 240.0}, "taken": {"throughput": 90.0, "trainings": 210.0}}
    grid = sessions_grid(build([], conditions=[{**FIXTURE_SESSIONS[0], **times}]).header)
    assert grid is not None
    assert grid.rows[-3:] == (
        ("time of all tasks", "5.0 min predicted", "5.0 min taken"),
        ("time of throughput", "1.0 min predicted", "1.5 min taken"),
        ("time of trainings", "4.0 min predicted", "3.5 min taken"),
    )


def test_limits_have_a_ridge_and_a_source(build: RunBuilder) -> None:
    grid = limits_grid(build([], limits=FIXTURE_LIMITS).header)
    assert grid is not None
    assert grid.rows == (
        ("cuda:0", "bf16", "650 TFLOP/s", "4.10 TB/s", "159 FLOP/byte", "990 TFLOP/s (fixture data sheet)"),
    )


def test_limits_that_could_not_be_measured_say_why(build: RunBuilder) -> None:
    grid = limits_grid(build([], limits={"cpu": {"precision": "fp32", "reason": "it broke"}}).header)
    assert grid is not None
    assert grid.rows == (("cpu", "fp32", "not measured: it broke", "not measured: it broke", "–", "not known"),)


def test_a_header_without_them_has_no_grids(build: RunBuilder) -> None:
    header = build([]).header
    assert sessions_grid(header) is None
    assert limits_grid(header) is None


@pytest.mark.parametrize("wrong", [None, "1e12", True, 0, -1.0])
def test_a_limit_that_is_no_rate_is_no_limit(build: RunBuilder, wrong: object) -> None:
    header = build([], limits={"cpu": {"peak_flops_per_s": wrong, "bandwidth_bytes_per_s": 1e9}}).header
    assert limits_of(header)["cpu"].flops_per_s == limits_of(header)["cpu"].ridge == 0


def test_execution_in_words(build: RunBuilder) -> None:
    header = build([], memory_format="channels_last", cuda_graphs=None).header
    words = "fp32, channels_last memory format, not compiled, CUDA graphs in training where the network allows them"
    assert execution_line(header.execution) == words
    compiled = replace(header.execution, compile=True, cuda_graphs=False)
    assert execution_line(compiled).endswith("format, compiled, no CUDA graphs")
    assert execution_line(replace(compiled, compile_mode="max-autotune")).endswith(
        "compiled (max-autotune), no CUDA graphs"
    )


LIMITS = {"cuda:0": {"precision": "fp32", "peak_flops_per_s": 1e12, "bandwidth_bytes_per_s": 1e10}}


def timed(name: str, macs: float, images_per_s: float) -> list[Record]:
    return [
        ok(name, "macs", macs, device="meta"),
        ok(name, "inference_images_per_s", images_per_s, device="cuda:0", batch_size=8),
    ]


def test_time_per_mac_and_outliers(read: Reader) -> None:
    # ns per MAC: a 10, b 1, c 1, d 2, e 0.1; the median is 1.
    rates = {"a": (1e5, 1e3), "b": (1e6, 1e3), "c": (2e6, 5e2), "d": (3e6, 1e9 / 6e6), "e": (1e8, 1e2)}
    rows = [row for name, (macs, rate) in rates.items() for row in timed(f"{name}_cifar", macs, rate)]
    results = read(rows)
    found = work_and_time(results, results.models)
    assert found is not None
    assert found.ms_per_mac == pytest.approx(1e-6)
    assert dict(found.outliers) == pytest.approx({"a": 10, "e": 0.1})
    assert found.outlier_sentence == (
        "Outliers: a takes 10 times and e takes 0.10 times as long per MAC as the median network."
    )
    # Ranks of the MACs 1 2 3 4 5, of the times 1.5 1.5 3 4 5 (1, 1, 2, 6 and 10 ms): Spearman by hand 0.9747
    assert found.correlation == pytest.approx(0.9747, abs=1e-4)
    assert "0.97 over 5 networks" in found.correlation_sentence


def test_two_networks_have_no_rule(read: Reader) -> None:
    rows = [*timed("a_cifar", 1e6, 10), *timed("b_cifar", 2e6, 5)]
    results = read(rows)
    assert work_and_time(results, results.models) is None


def test_the_ridge_is_where_the_roofs_meet(read: Reader) -> None:
    results = read(timed("a_cifar", 1e6, 10), limits=LIMITS)
    roof = peaks_of(results, results.models)
    assert roof is not None
    assert roof.ridge == 100.0


def test_no_roof_without_limits_or_on_another_device(read: Reader) -> None:
    unmeasured = {"cuda:0": {"precision": "fp32", "reason": "ValueError: out of order"}}
    elsewhere = {"cpu": LIMITS["cuda:0"]}
    for limits in ({}, unmeasured, elsewhere):
        results = read(timed("a_cifar", 1e6, 10), limits=limits)
        assert peaks_of(results, results.models) is None


def use(results: Results) -> list[str]:
    return lowest_use(results, results.models)


def test_each_reason_is_given_by_numbers_that_support_it(read: Reader) -> None:
    names = [f"{name}_cifar" for name in "abcdef"]
    rows = []
    for place, name in enumerate(names):
        facts = {"device": "cuda:0", "batch_size": 8, "asked_batch_size": 8}
        rate = 100.0 * (place + 1)
        rows += [ok(name, "flops", 1e9), ok(name, "train_images_per_s", rate, **facts)]
        rows += [ok(name, "inference_images_per_s", 4 * rate, **facts)]
        rows += [ok(name, "arithmetic_intensity", 50.0 if name == "b_cifar" else 500.0, batch_size=8)]
    # a: 8 images at 100 a second take 80 ms, of which the GPU works 8
    note = "launch-bound: the device works 10% of the step"
    rows.append(ok("a_cifar", "train_device_ms", 8.0, note=note, device="cuda:0", batch_size=8))
    rows.append(ok("c_cifar", "best_train_images_per_s", 600.0, device="cuda:0", batch_size=64))
    rows.append(ok("b_cifar", "best_train_images_per_s", 220.0, device="cuda:0", batch_size=16))
    first, second, third = use(read(rows, limits=LIMITS))
    peak = "of 1.000 TFLOP/s, the fastest fp32 matrix product or convolution measured here"
    assert first == f"In training a reaches 30 % {peak}: it is launch-bound (the device is busy for 10 % of the step)."
    # 50 FLOP/byte at 10 GB/s are 0.5 TFLOP/s; 800 images a second of 1 GFLOP are 0.8 TFLOP/s
    assert second == (
        f"In training b reaches 60 % {peak}: memory allows it 50 % of the measured peak in inference (50 FLOP/byte, "
        "left of the ridge at 100), and it reaches 160 % of that."
    )
    assert third == f"In training c reaches 90 % {peak}: batch 8 is small for it (batch 64 is 2 times as fast)."


def test_the_vendors_peak_is_named_without_its_source(read: Reader) -> None:
    names = [f"{name}_cifar" for name in "abcdef"]
    facts = {"device": "cuda:0", "batch_size": 8, "note": "not steady: steps got 9% slower while they were sampled"}
    rows = [row for name in names for row in (ok(name, "flops", 1e9), ok(name, "train_images_per_s", 8.0, **facts))]
    vendor = {"vendor_flops_per_s": 4e12, "vendor_source": "a data sheet (2024); a white paper"}
    limits = {"cuda:0": {**LIMITS["cuda:0"], **vendor}}
    first = use(read(rows, limits=limits))[0]
    assert "reaches 0.60 % of the vendor's dense fp32 peak of 4.000 TFLOP/s:" in first


def test_without_a_reason_it_names_the_causes_that_were_measured(read: Reader) -> None:
    names = [f"{name}_cifar" for name in "abcdef"]
    facts = {"device": "cuda:0", "batch_size": 8}
    rows = [row for name in names for row in (ok(name, "flops", 1e9), ok(name, "train_images_per_s", 9.0, **facts))]
    assert use(read(rows, limits=LIMITS))[0].endswith("measured here: no cause of this was measured.")
    rows += [ok("a_cifar", "best_train_images_per_s", 9.0, device="cuda:0", batch_size=16)]
    assert use(read(rows, limits=LIMITS))[0].endswith(
        "what was measured of the causes (batch size) does not explain this."
    )


def test_a_handful_needs_no_names(tmp_path: Path) -> None:
    results = read_results(gpu_run(tmp_path))
    tracks = results.tracks()
    assert len(lowest_use(results, tracks["cifar"])) == 3
    assert lowest_use(results, tracks["imagenet"]) == []  # five
