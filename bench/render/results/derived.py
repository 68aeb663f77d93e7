"""Rows that nobody measured: how much of what the device can do a network gets, from its FLOPs and its throughput."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from bench.metrics import DERIVED, METRICS
from bench.quantity import quantity
from bench.records.record import Record
from bench.render.results.header import Limits

TRAINING_PASSES = 3  # a backward pass computes two products for each of the forward pass


@dataclass(frozen=True)
class _Peak:
    flops_per_s: float
    words: str  # whose figure it is
    measured: bool


def derived_records(records: Sequence[Record], limits: Iterable[Limits]) -> list[Record]:
    """A row of `achieved_flops_per_s`, `inference_mfu` or `mfu` for every measured throughput whose FLOPs are known.

    Each takes over the conditions, round and remarks of its throughput and all of its samples, so that its interval is
    the throughput's, scaled. A device without any peak gives skipped rows with the reason; a run that was made before
    limits were measured gives none.
    """
    flops = {r.model: r.value for r in records if r.metric == "flops" and r.value is not None}
    by_device = {limit.device: limit for limit in limits}
    derived: list[Record] = []
    for row in records:
        if row.value is None or row.model not in flops:
            continue
        work, known = flops[row.model], by_device.get(row.device)
        if row.metric == "inference_images_per_s":
            derived.append(_scaled(row, "achieved_flops_per_s", work, row.note))
            derived += _share_of_peak(row, "inference_mfu", work, known)
        elif row.metric == "train_images_per_s":
            derived += _share_of_peak(row, "mfu", TRAINING_PASSES * work, known)
    return derived


def _share_of_peak(row: Record, metric: str, flops: float, limits: Limits | None) -> Iterator[Record]:
    if limits is None:
        return
    peak = _peak(limits, row.precision)
    if isinstance(peak, str):
        yield replace(_scaled(row, metric, 0.0, peak), value=None, samples=(), status="skipped")
        return
    share = _scaled(row, metric, flops / peak.flops_per_s, peak.words)
    above = share.value is not None and share.value > 1
    reason = "above the peak: the machine was busier while that was measured" if above and peak.measured else ""
    yield replace(share, note="; ".join(note for note in (peak.words, row.note, reason) if note))


def _peak(limits: Limits, precision: str) -> _Peak | str:
    """The vendor's figure where it is known, else the one measured; or why there is neither."""
    if limits.precision != precision:
        return f"the peak of {limits.device} was measured in {limits.precision}, and this in {precision}"
    if limits.vendor_flops_per_s is not None:
        words = f"share of the vendor's dense {precision} peak of {_rate(limits.vendor_flops_per_s)}"
        return _Peak(limits.vendor_flops_per_s, f"{words} ({limits.vendor_source})", measured=False)
    if limits.peak_flops_per_s is not None:
        peak = _rate(limits.peak_flops_per_s)
        words = f"share of {peak}, the fastest {precision} matrix product or convolution measured here"
        return _Peak(limits.peak_flops_per_s, words, measured=True)
    return f"no peak of {limits.device} is known: {limits.reason or 'it was not measured'}"


def _rate(flops_per_s: float) -> str:
    return f"{quantity(flops_per_s, 'FLOP/s', 4)}FLOP/s"


def _scaled(row: Record, metric: str, factor: float, note: str) -> Record:
    assert row.value is not None
    return replace(
        row,
        probe=DERIVED,
        metric=metric,
        unit=METRICS[metric].unit,
        value=row.value * factor,
        samples=tuple(sample * factor for sample in row.samples),
        note=note,
        seconds=0.0,
    )
