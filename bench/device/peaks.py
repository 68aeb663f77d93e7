"""The most that a device does here: FLOP/s of large products, and bytes per second to and from its memory.

Measured before everything else and again in each round, with the arithmetic that networks are measured in. Matrices
hold random numbers: on zeros a GPU draws less power and runs faster than on any data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bench.config import Execution, Precision
from bench.device.execution import arithmetic, inference_dtype, synchroniser
from bench.device.timing import Timing, steady_samples
from bench.device.vendor_peaks import vendor_peak

MEASURE_SECONDS = 0.1  # for each size
LONG_STEP_S = 0.02  # a product that takes this long is large enough
LARGEST_SIZE = 16384
SMALLEST_SIZE = {"cuda": 2048, "cpu": 256}
# Images, channels, height and width, kernel. On GPUs the kernel is 1, since libraries have ways to compute others with
# fewer multiplications than are counted (Lavin & Gray 2016), which no device's peak is about.
CONVOLUTION = {"cuda": (256, 1024, 16, 1), "cpu": (16, 512, 16, 3)}
BUFFER_BYTES = {"cuda": 1 << 29, "cpu": 1 << 27}  # far above what caches hold


@dataclass(frozen=True)
class LimitsTask:
    """What a worker process is asked for; a task of its own for each device."""

    precision: Precision
    number: int

    @property
    def group(self) -> str:
        return f"limits {self.number}"


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


def measure_limits(task: LimitsTask, device: str) -> dict[str, Any]:
    """What run.json keeps of a device: both rates with their samples, and the vendor's peak where it is known."""
    with arithmetic(task.precision):
        products = [
            *_products(task.precision, torch.device(device)),
            _convolution(task.precision, torch.device(device)),
        ]
        product = _best(products)
        copy = _best(_copies(task.precision, torch.device(device)))
    return {
        "precision": task.precision,
        "peak_flops_per_s": product.per_second,
        "peak": product.what,
        "peak_samples": product.samples,
        "bandwidth_bytes_per_s": copy.per_second,
        "bandwidth": copy.what,
        "bandwidth_samples": copy.samples,
        "note": "; ".join(f"{rate.what}: {rate.timing.note}" for rate in (product, copy) if rate.timing.note),
        **_vendor_limits(task.precision, device),
    }


def _vendor_limits(precision: Precision, device: str) -> dict[str, Any]:
    known = vendor_peak(torch.cuda.get_device_name(device), precision) if device != "cpu" else None
    return {"vendor_flops_per_s": known[0], "vendor_source": known[1]} if known else {}


def _best(rates: list[_Rate]) -> _Rate:
    """The fastest of those that were steady, or of all where none was."""
    steady = [rate for rate in rates if "unsteady" not in rate.timing.flags]
    return max(steady or rates, key=lambda rate: rate.per_second)


def _products(precision: Precision, device: torch.device) -> list[_Rate]:
    """Square matrix products, each of twice the size of the last, until one takes long."""
    rates: list[_Rate] = []
    size = SMALLEST_SIZE[device.type]
    while size <= LARGEST_SIZE:
        timing = _timed(_product(size, precision, device), device)
        rates.append(_Rate(f"{size} x {size} matrices", 2.0 * size**3, timing))
        if min(timing.seconds) > LONG_STEP_S:
            break
        size *= 2
    return rates


def _product(size: int, precision: Precision, device: torch.device) -> Callable[[], object]:
    dtype = inference_dtype(Execution(precision))
    left, right, out = (torch.randn(size, size, device=device).to(dtype) for _ in range(3))
    return lambda: torch.mm(left, right, out=out)


def _convolution(precision: Precision, device: torch.device) -> _Rate:
    """A convolution that computes much with little memory: on many CPUs it is another library's, and twice as fast."""
    images, channels, edge, kernel = CONVOLUTION[device.type]
    dtype = inference_dtype(Execution(precision))
    maps = torch.randn(images, channels, edge, edge, device=device).to(dtype, memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, kernel, kernel, device=device).to(dtype, memory_format=torch.channels_last)
    out_edge = edge - kernel + 1
    work = 2.0 * images * channels**2 * kernel**2 * out_edge**2
    timing = _timed(lambda: torch.nn.functional.conv2d(maps, weight), device)
    return _Rate(f"{kernel} x {kernel} convolution, {channels} channels", work, timing)


def _copies(precision: Precision, device: torch.device) -> list[_Rate]:
    """A copy moves two buffers, a scaled sum (the "triad" of McCalpin's STREAM) three."""
    dtype = inference_dtype(Execution(precision))
    elements = BUFFER_BYTES[device.type] // dtype.itemsize
    first, second, out = (torch.ones(elements, dtype=dtype, device=device) for _ in range(3))
    buffer = elements * dtype.itemsize
    return [
        _Rate("copy", 2.0 * buffer, _timed(lambda: out.copy_(first), device)),
        _Rate("scaled sum", 3.0 * buffer, _timed(lambda: torch.add(first, second, alpha=0.5, out=out), device)),
    ]


def _timed(step: Callable[[], object], device: torch.device) -> Timing:
    return steady_samples(step, synchroniser(device), MEASURE_SECONDS)
