"""What the device can do at most, measured; and what vendors say."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.config import Precision
from bench.device import peaks
from bench.device.accelerator import OF_HOST
from bench.device.peaks import measure_limits, vendor_peak
from bench.device.timing import Timing
from bench.device.torch_devices import Host


def resize(patch: pytest.MonkeyPatch, **sizes: Any) -> None:
    """Give the host other sizes of work."""
    patch.setattr(Host, "sizes", replace(OF_HOST, **sizes))


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same measurement with less to do."""
    monkeypatch.setattr(peaks, "MEASURE_SECONDS", 0.02)
    monkeypatch.setattr(peaks, "LARGEST_SIZE", 256)
    resize(monkeypatch, buffer_bytes=1 << 22, convolution=(1, 4, 4, 3))


@pytest.mark.usefixtures("_small")
def test_a_cpu_is_measured() -> None:
    found = measure_limits("fp32", "cpu")
    assert found["precision"] == "fp32"
    assert found["peak"] == "256 x 256 matrices"
    assert found["bandwidth"] in ("copy", "scaled sum")
    for value, samples in (("peak_flops_per_s", "peak_samples"), ("bandwidth_bytes_per_s", "bandwidth_samples")):
        assert min(found[samples]) <= found[value] <= max(found[samples])
    assert 1e8 < found["peak_flops_per_s"] < 1e14
    assert 1e8 < found["bandwidth_bytes_per_s"] < 1e13
    assert "vendor_flops_per_s" not in found  # nobody states one for a CPU


def test_work_is_counted_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(step: object, device: object) -> Timing:
        return Timing((0.5,), "")

    monkeypatch.setattr(peaks, "_timed", timed)
    monkeypatch.setattr(peaks, "LONG_STEP_S", 1.0)
    monkeypatch.setattr(peaks, "LARGEST_SIZE", 512)
    resize(monkeypatch, buffer_bytes=4000, convolution=(1, 4, 4, 3))
    found = measure_limits("fp32", "cpu")
    assert found["peak_flops_per_s"] == 2 * 512**3 / 0.5
    resize(monkeypatch, buffer_bytes=4000, convolution=(8, 64, 30, 3))
    found = measure_limits("fp32", "cpu")
    assert found["peak"] == "3 x 3 convolution, 64 channels"
    assert found["peak_flops_per_s"] == 2 * 8 * 28 * 28 * 64 * 64 * 9 / 0.5
    assert (found["bandwidth"], found["bandwidth_bytes_per_s"]) == ("scaled sum", 3 * 4000 / 0.5)


def test_the_best_steady_rate_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {256: Timing((0.001,), ""), 512: Timing((0.0001,), "not steady: ..."), 1024: Timing((0.02,), "")}
    sizes = iter(seconds)
    monkeypatch.setattr(peaks, "_timed", lambda step, device: seconds[next(sizes)])
    monkeypatch.setattr(peaks, "LARGEST_SIZE", 1024)
    best = peaks._best(peaks._products("fp32", Host()))
    assert best.per_second == pytest.approx(2 * 1024**3 / 0.02)


def test_the_precision_is_that_of_the_run() -> None:
    seen = []

    class Look(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if func in (torch.mm, torch.nn.functional.conv2d):
                seen.append((args[0].dtype, torch.backends.cuda.matmul.allow_tf32))
            return func(*args, **(kwargs or {}))

    with pytest.MonkeyPatch.context() as patch, Look():
        patch.setattr(peaks, "_timed", lambda step, device: (step(), Timing((1.0,), ""))[1])
        resize(patch, buffer_bytes=4000, convolution=(1, 4, 4, 3))
        measure_limits("fp32", "cpu")
        measure_limits("bf16", "cpu")
    assert seen == [(torch.float32, False)] * 2 + [(torch.bfloat16, True)] * 2


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [
        ("NVIDIA H200", "bf16", 989.4),
        ("NVIDIA H200", "tf32", 494.7),
        ("NVIDIA H200", "fp32", 66.9),
        ("NVIDIA H100 80GB HBM3", "fp16", 989.4),
        ("NVIDIA H100 PCIe", "bf16", 756.0),
        ("NVIDIA A100-SXM4-40GB", "bf16", 312.0),
        ("NVIDIA A100 80GB PCIe", "tf32", 156.0),
        ("Tesla V100-SXM2-16GB", "fp16", 125.0),
        ("Tesla T4", "fp16", 65.0),
        ("NVIDIA L4", "bf16", 121.0),
        ("NVIDIA L40S", "fp32", 91.6),
        ("NVIDIA GeForce RTX 3090", "fp16", 71.0),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2),
        ("NVIDIA A10", "tf32", 62.5),
    ],
)
def test_vendors_dense_peaks(name: str, precision: Precision, tflops: float) -> None:
    peak = vendor_peak(name, precision)
    assert peak is not None
    assert peak[0] == pytest.approx(tflops * 1e12)
    assert "NVIDIA" in peak[1]


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("Tesla V100-SXM2-16GB", "bf16"),  # has none
        ("Tesla T4", "tf32"),
        ("NVIDIA H200 NVL", "bf16"),  # another clock
        ("NVIDIA H100 NVL", "bf16"),
        ("NVIDIA A10G", "bf16"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "bf16"),  # a part of one
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16"),
        ("NVIDIA GeForce RTX 3090 Ti", "bf16"),
        ("Radeon", "fp32"),
    ],
)
def test_of_another_device_nothing_is_claimed(name: str, precision: Precision) -> None:
    assert vendor_peak(name, precision) is None


def test_no_peak_is_the_sparse_one() -> None:
    """Tensor cores double from tf32 to bf16, and the sparse figure is twice the dense one: no row mixes the two."""
    from bench.device.peaks import _PEAKS

    for peak in _PEAKS:
        if "tf32" in peak.tflops and peak.tflops["tf32"] != peak.tflops["fp32"]:
            assert peak.tflops["bf16"] == pytest.approx(2 * peak.tflops["tf32"], rel=0.02), peak.name
        assert peak.tflops.get("bf16", peak.tflops["fp16"]) == peak.tflops["fp16"], peak.name


@pytest.mark.gpu
def test_a_gpu_stays_below_what_its_vendor_states() -> None:
    found = measure_limits("bf16", "cuda:0")
    stated = found.get("vendor_flops_per_s")
    if stated is None:
        pytest.skip(f"no peak is known of {torch.cuda.get_device_name(0)}")
    assert 0.4 * stated < found["peak_flops_per_s"] < 1.02 * stated
