"""The limits of the device that timed some networks, and where memory stops being the one that counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.render.results.header import Model
from bench.render.results.table import Results


@dataclass(frozen=True)
class Roof:
    device: str  # "cuda:0"
    flops_per_s: float  # of large matrix products or convolutions, measured
    bytes_per_s: float  # of large copies, measured
    vendor_flops_per_s: float | None

    @property
    def ridge(self) -> float:
        """FLOP/byte above which the device's arithmetic, and not its memory, is the limit."""
        return self.flops_per_s / self.bytes_per_s


def roof_of(results: Results, models: Sequence[Model]) -> Roof | None:
    """The limits of the device that timed most of the networks; None where they were not measured."""
    roofs = {
        limits.device: Roof(
            limits.device, limits.peak_flops_per_s, limits.bandwidth_bytes_per_s, limits.vendor_flops_per_s
        )
        for limits in results.header.limits
        if limits.peak_flops_per_s and limits.bandwidth_bytes_per_s
    }
    timed = [results.cell(model, "inference_images_per_s").records for model in models]
    devices = [records[-1].device for records in timed if records and records[-1].device in roofs]
    return roofs[max(sorted(set(devices)), key=devices.count)] if devices else None
