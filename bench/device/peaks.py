"""The most that a device does here: FLOP/s of large products, and bytes per second to and from its memory.

Measured before everything else and again in each round, with the arithmetic that networks are measured in. Matrices
hold random numbers: on zeros a GPU draws less power and runs faster than on any data.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from bench.config import Execution, Precision, RequestError
from bench.device import accelerator
from bench.device.accelerator import Device
from bench.device.execution import arithmetic, inference_dtype
from bench.device.timing import Timing, steady_samples

MEASURE_SECONDS = 0.1  # for each size
LONG_STEP_S = 0.02  # a product that takes this long is large enough
LARGEST_SIZE = 16384


@dataclass(frozen=True)
class _Rate:
    """Work per second of one operation."""

    what: str
    work: float  # FLOPs or bytes of one step
    timing: Timing

    @property
    def per_second(self) -> float:
        """Of the fastest sample: whatever disturbs a device makes it slower, and a limit is what it can do."""
        return max(self.samples)

    @property
    def samples(self) -> list[float]:
        return [self.work / seconds for seconds in self.timing.seconds]


def measure_limits(precision: Precision, word: str) -> dict[str, Any]:
    """What run.json keeps of a device: both rates with their samples, and the vendor's peak where it is known."""
    device = accelerator.choose(word)
    with arithmetic(precision):
        product = _best([*_products(precision, device), _convolution(precision, device)])
        copy = _best(_copies(precision, device))
    vendor = vendor_peak(device.name, precision)
    return {
        "precision": precision,
        "peak_flops_per_s": product.per_second,
        "peak": product.what,
        "peak_samples": product.samples,
        "bandwidth_bytes_per_s": copy.per_second,
        "bandwidth": copy.what,
        "bandwidth_samples": copy.samples,
        "note": "; ".join(f"{rate.what}: {rate.timing.note}" for rate in (product, copy) if rate.timing.note),
        **({"vendor_flops_per_s": vendor[0], "vendor_source": vendor[1]} if vendor else {}),
    }


def _best(rates: list[_Rate]) -> _Rate:
    steady = [rate for rate in rates if "unsteady" not in rate.timing.flags]
    return max(steady or rates, key=lambda rate: rate.per_second)


def _products(precision: Precision, device: Device) -> list[_Rate]:
    """Square matrix products, each of twice the size of the last, until one takes long."""
    rates: list[_Rate] = []
    size = device.sizes.smallest_product
    while size <= LARGEST_SIZE:
        timing = _timed(_product(size, precision, device), device)
        rates.append(_Rate(f"{size} x {size} matrices", 2.0 * size**3, timing))
        if min(timing.seconds) > LONG_STEP_S:
            break
        size *= 2
    return rates


def _product(size: int, precision: Precision, device: Device) -> Callable[[], object]:
    dtype = inference_dtype(Execution(precision))
    left, right, out = (torch.randn(size, size, device=device.place).to(dtype) for _ in range(3))
    return lambda: torch.mm(left, right, out=out)


def _convolution(precision: Precision, device: Device) -> _Rate:
    """A convolution that computes much with little memory: on many CPUs it is another library's, and twice as fast."""
    images, channels, edge, kernel = device.sizes.convolution
    dtype = inference_dtype(Execution(precision))
    maps, weight = (
        torch.randn(*shape, device=device.place).to(dtype, memory_format=torch.channels_last)
        for shape in ((images, channels, edge, edge), (channels, channels, kernel, kernel))
    )
    out_edge = edge - kernel + 1
    work = 2.0 * images * channels**2 * kernel**2 * out_edge**2
    timing = _timed(lambda: torch.nn.functional.conv2d(maps, weight), device)
    return _Rate(f"{kernel} x {kernel} convolution, {channels} channels", work, timing)


def _copies(precision: Precision, device: Device) -> list[_Rate]:
    """A copy moves two buffers, a scaled sum (the "triad" of McCalpin's STREAM) three."""
    dtype = inference_dtype(Execution(precision))
    elements = device.sizes.buffer_bytes // dtype.itemsize
    first, second, out = (torch.ones(elements, dtype=dtype, device=device.place) for _ in range(3))
    buffer = elements * dtype.itemsize
    return [
        _Rate("copy", 2.0 * buffer, _timed(lambda: out.copy_(first), device)),
        _Rate("scaled sum", 3.0 * buffer, _timed(lambda: torch.add(first, second, alpha=0.5, out=out), device)),
    ]


def _timed(step: Callable[[], object], device: Device) -> Timing:
    return steady_samples(step, device.synchronise, MEASURE_SECONDS)


# What vendors state their GPUs can do: dense matrix products, never the doubled figure for sparse ones.


@dataclass(frozen=True)
class VendorPeak:
    """TFLOP/s of dense matrix products in each precision that the GPU has, with sums kept in fp32 (as PyTorch does)."""

    name: str  # pattern of the whole name that CUDA gives the GPU
    tflops: dict[Precision, float]
    gbytes_per_s: float  # of its memory; the least where models of this name differ
    source: str


def _vendor_peaks() -> tuple[VendorPeak, ...]:
    text = Path(__file__).with_name("vendor_peaks.csv").read_text(encoding="utf-8")
    return tuple(
        VendorPeak(
            row["name"],
            {precision: float(row[precision]) for precision in get_args(Precision) if row[precision]},
            float(row["gbytes_per_s"]),
            row["source"],
        )
        for row in csv.DictReader(text.splitlines())
    )


_PEAKS = _vendor_peaks()  # of an H200 that of the SXM module; the NVL is slower


def vendor_peak(device_name: str, precision: Precision) -> tuple[float, str] | None:
    """FLOP/s and where they are stated; None for a device that is not known, is a part of one, or lacks the precision.

    A variant with another number of multiprocessors or another clock ("NVIDIA H100 NVL", "RTX 4090 Laptop GPU") is
    another device.
    """
    if "MIG" in device_name:
        return None
    for peak in _PEAKS:
        if re.fullmatch(peak.name, device_name) and precision in peak.tflops:
            return peak.tflops[precision] * 1e12, peak.source
    return None


def vendor_named(words: str) -> VendorPeak:
    """The first GPU of the table whose name has these words: "H100", "RTX 3060".

    Raises:
        RequestError: there is none.
    """
    wanted = words.lower().split()
    known = {re.sub(r"\W+", " ", peak.name).strip(): peak for peak in _PEAKS}
    for name, peak in known.items():
        if wanted and set(wanted) <= set(name.lower().split()):
            return peak
    raise RequestError(f"{words!r} is in no vendor's table here; there are: {', '.join(known)}")
