"""What vendors state their GPUs can do: dense matrix products, never the doubled figure for sparse ones."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.config import Precision


@dataclass(frozen=True)
class VendorPeak:
    """TFLOP/s of dense matrix products in each precision that the GPU has, with sums kept in fp32 (as PyTorch does)."""

    name: str  # pattern of the whole name that CUDA gives the GPU
    tflops: dict[Precision, float]
    source: str


_AMPERE = "NVIDIA A100 Tensor Core GPU Architecture white paper (2020), table of peak rates"
_HOPPER = "NVIDIA H100 Tensor Core GPU Architecture white paper (2023), table of peak rates"

_PEAKS = (
    VendorPeak(
        r"NVIDIA H200",  # the SXM module; the H200 NVL is slower
        {"fp32": 66.9, "tf32": 494.7, "bf16": 989.4, "fp16": 989.4},
        f"NVIDIA H200 data sheet (2024), whose figures for sparsity are twice these; {_HOPPER}, H100 SXM5",
    ),
    VendorPeak(
        r"NVIDIA H100 80GB HBM3", {"fp32": 66.9, "tf32": 494.7, "bf16": 989.4, "fp16": 989.4}, f"{_HOPPER}, H100 SXM5"
    ),
    VendorPeak(
        r"NVIDIA H100 PCIe", {"fp32": 51.2, "tf32": 378.0, "bf16": 756.0, "fp16": 756.0}, f"{_HOPPER}, H100 PCIe"
    ),
    VendorPeak(
        r"(NVIDIA )?A100[ -](SXM4|PCIE|80GB).*", {"fp32": 19.5, "tf32": 156.0, "bf16": 312.0, "fp16": 312.0}, _AMPERE
    ),
    VendorPeak(r"(NVIDIA |Tesla )?V100-SXM2-.*", {"fp32": 15.7, "fp16": 125.0}, "NVIDIA V100 data sheet (2020), SXM2"),
    VendorPeak(r"(NVIDIA |Tesla )?V100-PCIE-.*", {"fp32": 14.0, "fp16": 112.0}, "NVIDIA V100 data sheet (2020), PCIe"),
    VendorPeak(r"(NVIDIA |Tesla )?T4", {"fp32": 8.1, "fp16": 65.0}, "NVIDIA T4 data sheet (2019)"),
    VendorPeak(
        r"NVIDIA L4",
        {"fp32": 30.3, "tf32": 60.0, "bf16": 121.0, "fp16": 121.0},
        "NVIDIA L4 data sheet (2023), half of its figures for sparsity",
    ),
    VendorPeak(
        r"NVIDIA L40S",
        {"fp32": 91.6, "tf32": 183.0, "bf16": 362.05, "fp16": 362.05},
        "NVIDIA L40S data sheet (2023), without sparsity",
    ),
    VendorPeak(
        r"NVIDIA GeForce RTX 3090",
        {"fp32": 35.6, "tf32": 35.6, "bf16": 71.0, "fp16": 71.0},
        "NVIDIA Ampere GA102 GPU Architecture white paper (2021), RTX 3090",
    ),
    VendorPeak(
        r"NVIDIA GeForce RTX 4090",
        {"fp32": 82.6, "tf32": 82.6, "bf16": 165.2, "fp16": 165.2},
        "NVIDIA Ada GPU Architecture white paper (2022), RTX 4090",
    ),
    VendorPeak(
        r"NVIDIA A10",
        {"fp32": 31.2, "tf32": 62.5, "bf16": 125.0, "fp16": 125.0},
        "NVIDIA A10 data sheet (2021), without sparsity",
    ),
)


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
