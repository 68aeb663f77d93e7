"""Achieved FLOP/s and their share of the device's peak, worked out by hand."""

from typing import Any

import pytest

from bench.metrics import DERIVED
from bench.records.record import Record
from bench.render.results import Results, read_results
from tests.render.conftest import RunBuilder, bad, listed, ok

RESNET = listed("resnet20_cifar", "ResNet", 2015, "cifar")
MEASURED = {"cpu": {"precision": "fp32", "peak_flops_per_s": 1e12, "bandwidth_bytes_per_s": 1e10}}
STATED = {"cpu": {**MEASURED["cpu"], "vendor_flops_per_s": 4e12, "vendor_source": "a data sheet"}}


def rows(**changes: Any) -> list[Record]:
    facts = {"device": "cpu", "batch_size": 64, **changes}
    return [
        ok("resnet20_cifar", "flops", 1e9, device="meta"),
        ok("resnet20_cifar", "inference_images_per_s", 200.0, samples=(190.0, 200.0, 230.0), **facts),
        ok("resnet20_cifar", "train_images_per_s", 50.0, samples=(49.0, 50.0, 52.0), **facts),
    ]


def results(build: RunBuilder, records: list[Record], limits: object = None, name: str = "fixture") -> Results:
    return read_results(build([RESNET], records, name, **({} if limits is None else {"limits": limits})))


def test_shares_of_the_measured_peak_where_no_other_is_known(build: RunBuilder) -> None:
    read = results(build, rows(), MEASURED)
    achieved, inference, training = (
        read.cell("resnet20_cifar", metric) for metric in ("achieved_flops_per_s", "inference_mfu", "mfu")
    )
    assert (achieved.value, achieved.low, achieved.high) == pytest.approx((200e9, 190e9, 230e9))
    assert (inference.value, inference.low, inference.high) == pytest.approx((0.2, 0.19, 0.23))
    assert (training.value, training.low, training.high) == pytest.approx((0.15, 0.147, 0.156))
    (row,) = training.records
    assert row.note == "share of 1.000 TFLOP/s, the fastest fp32 matrix product or convolution measured here"
    assert (row.probe, row.unit, row.batch_size, row.device) == (DERIVED, "fraction", 64, "cpu")


def test_the_vendors_dense_peak_comes_first_and_is_cited(build: RunBuilder) -> None:
    cell = results(build, rows(), STATED).cell("resnet20_cifar", "mfu")
    assert cell.value == pytest.approx(3 * 1e9 * 50 / 4e12)
    assert cell.records[0].note == "share of the vendor's dense fp32 peak of 4.000 TFLOP/s (a data sheet)"


def test_rounds_keep_their_rounds(build: RunBuilder) -> None:
    flops, *first = rows()
    _, *second = rows(round=1)
    read = results(build, [flops, *first, *second], MEASURED)
    throughput, share = read.cell("resnet20_cifar", "train_images_per_s"), read.cell("resnet20_cifar", "mfu")
    assert len(share.records) == 2
    for end in ("value", "low", "high"):
        assert getattr(share, end) == pytest.approx(getattr(throughput, end) * 3e9 / 1e12)


def test_what_is_remarkable_of_the_throughput_is_so_of_the_share(build: RunBuilder) -> None:
    read = results(build, rows(note="not steady: steps got 9 % slower while they were sampled"), MEASURED)
    for metric in ("achieved_flops_per_s", "inference_mfu", "mfu"):
        assert "not steady" in read.cell("resnet20_cifar", metric).records[0].note


def test_more_than_the_measured_peak_is_explained(build: RunBuilder) -> None:
    slow = {"cpu": {"precision": "fp32", "peak_flops_per_s": 1e11}}
    cell = results(build, rows(), slow).cell("resnet20_cifar", "mfu")
    assert cell.value == pytest.approx(1.5)
    assert "busier" in cell.records[0].note


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"cpu": {"precision": "fp32", "reason": "stopped after 60 s"}}, "stopped after 60 s"),
        ({"cpu": {"precision": "fp32"}}, "not measured"),
        ({"cpu": {"precision": "bf16", "peak_flops_per_s": 1e12}}, "in bf16, and this in fp32"),
    ],
)
def test_without_a_peak_the_share_is_skipped_with_the_reason(build: RunBuilder, limits: object, reason: str) -> None:
    read = results(build, rows(), limits)
    cell = read.cell("resnet20_cifar", "mfu")
    assert (cell.measured, cell.status) == (False, "skipped")
    assert reason in cell.records[0].note
    assert read.cell("resnet20_cifar", "achieved_flops_per_s").value == 200e9


def test_nothing_is_derived_of_what_is_not_there(build: RunBuilder) -> None:
    failed = [rows()[0], bad("resnet20_cifar", "train_images_per_s", "oom", "too large", device="cpu")]
    for name, records, limits, derived in (
        ("made-before-limits-were-measured", rows(), None, ["achieved_flops_per_s"]),
        ("without-flops", rows()[1:], MEASURED, []),
        ("without-throughput", failed, MEASURED, []),
    ):
        found = [row.metric for row in results(build, records, limits, name).records if row.probe == DERIVED]
        assert [metric for metric in found if metric != "published_top1"] == derived, name
