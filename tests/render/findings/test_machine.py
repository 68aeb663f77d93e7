"""What the page says of the machine, from run.json as it is and as it should not be."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bench.render.findings.machine import conditions_grid, execution_line, limits_grid
from bench.render.results.header import read_header
from tests.render.conftest import FIXTURE_CONDITIONS, FIXTURE_LIMITS, RunBuilder


def test_conditions_stand_side_by_side(build: RunBuilder) -> None:
    cut_short = {"started": "2026-02-01T08:00:00+00:00", "before": {"load_average_1min": 7.5}}
    grid = conditions_grid(read_header(build([], [], conditions=[*FIXTURE_CONDITIONS, cut_short])))
    assert grid is not None
    assert grid.headings == (
        "",
        "before, 2026-01-31 12:00:05",
        "after, 2026-01-31 12:08:05",
        "before, 2026-02-01 08:00:00",
        "after",
    )
    assert grid.rows == (
        ("load average 1min", "0.31", "2.5", "7.5", "–"),
        ("cuda:0 temperature celsius", "31", "64", "–", "–"),
        ("cuda:0 throttle reasons", "none", "power cap", "–", "–"),
    )


def test_what_the_run_said_of_its_time_stands_beside_what_it_took(build: RunBuilder) -> None:
    times = {"predicted": {"throughput": 60.0, "trainings": 240.0}, "taken": {"throughput": 90.0, "trainings": 210.0}}
    grid = conditions_grid(read_header(build([], [], conditions=[{**FIXTURE_CONDITIONS[0], **times}])))
    assert grid is not None
    assert grid.rows[-3:] == (
        ("time of all tasks", "5.0 min", "5.0 min"),
        ("time of throughput", "1.0 min", "1.5 min"),
        ("time of trainings", "4.0 min", "3.5 min"),
    )


def test_limits_have_a_ridge_and_a_source(build: RunBuilder) -> None:
    grid = limits_grid(read_header(build([], [], limits=FIXTURE_LIMITS)))
    assert grid is not None
    assert grid.rows == (
        ("cuda:0", "bf16", "650 TFLOP/s", "4.10 TB/s", "159 FLOP/byte", "990 TFLOP/s (fixture data sheet)"),
    )


def test_limits_that_could_not_be_measured_say_why(build: RunBuilder) -> None:
    grid = limits_grid(read_header(build([], [], limits={"cpu": {"precision": "fp32", "reason": "it broke"}})))
    assert grid is not None
    assert grid.rows == (("cpu", "fp32", "not measured: it broke", "not measured: it broke", "–", "not known"),)


def test_a_header_without_them_has_no_grids(build: RunBuilder) -> None:
    header = read_header(build([], []))
    assert conditions_grid(header) is None
    assert limits_grid(header) is None


@pytest.mark.parametrize(
    ("damaged", "place"),
    [
        ({"limits": []}, "$.limits"),
        ({"limits": None}, "$.limits"),
        ({"conditions": {}}, "$.sessions"),
        ({"conditions": [{"before": 3}]}, "$.sessions[0].before"),
        ({"conditions": [{}, None]}, "$.sessions[1]"),
    ],
)
def test_a_damaged_header_is_refused_with_the_place(build: RunBuilder, damaged: dict[str, object], place: str) -> None:
    with pytest.raises(ValueError, match=re.escape(place)):
        build([], [], **damaged)


@pytest.mark.parametrize("wrong", [None, "1e12", True, 0, -1.0])
def test_a_limit_that_is_no_rate_is_no_limit(build: RunBuilder, wrong: object) -> None:
    header = read_header(build([], [], limits={"cpu": {"peak_flops_per_s": wrong, "bandwidth_bytes_per_s": 1e9}}))
    assert header.limits[0].peak_flops_per_s is None


def test_execution_in_words(build: RunBuilder) -> None:
    header = read_header(build([], [], memory_format="channels_last", cuda_graphs=None))
    words = "fp32, channels_last memory format, not compiled, CUDA graphs in training where the network allows them"
    assert execution_line(header.execution) == words
    compiled = replace(header.execution, compile=True, cuda_graphs=False)
    assert execution_line(compiled).endswith("format, compiled, no CUDA graphs")
    assert execution_line(replace(compiled, compile_mode="max-autotune")).endswith(
        "compiled (max-autotune), no CUDA graphs"
    )
