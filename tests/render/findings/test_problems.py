"""Remarks on measured numbers: one line for what is one thing."""

from __future__ import annotations

from bench.render.findings.problems import problems, remarks
from bench.render.results import read_results
from tests.render.conftest import RunBuilder, bad, listed, ok

A, B = (listed(f"{name}_cifar", name, 2015, "cifar") for name in "ab")


def test_rounds_that_differ_in_numbers_are_one_remark(build: RunBuilder) -> None:
    notes = [f"launch-bound: the device works {share}% of the step" for share in (33, 9, 31)]
    rows = [ok("a_cifar", "train_device_ms", 1.0, round=n, note=note) for n, note in enumerate(notes)]
    rows.append(ok("a_cifar", "train_images_per_s", 1.0, note="batch 1,024 did not fit into memory"))
    found = remarks(read_results(build([A], rows)))
    assert [remark.reason for remark in found["throughput"]] == [
        "launch-bound: the device works 9 to 33% of the step",
        "batch 1,024 did not fit into memory",
    ]


def test_networks_with_the_same_remark_share_it(build: RunBuilder) -> None:
    rows = [ok(name, "latency_ms", 1.0, note="warm 2.15.0") for name in ("a_cifar", "b_cifar")]
    rows.append(ok("b_cifar", "params", 1.0, note="odd"))
    found = remarks(read_results(build([A, B], rows)))
    assert {probe: [(r.reason, r.models) for r in said] for probe, said in found.items()} == {
        "latency": [("warm 2.15.0", ("a_cifar", "b_cifar"))],
        "params": [("odd", ("b_cifar",))],
    }


def test_a_failed_round_is_a_problem_though_others_succeeded(build: RunBuilder) -> None:
    rows = [ok("a_cifar", "latency_ms", 1.0), bad("a_cifar", "latency_ms", "oom", "too big", round=1)]
    (found,) = problems(read_results(build([A], rows)))
    assert (found.status, found.reason, found.models, found.probes) == ("oom", "too big", ("a_cifar",), ("latency",))
