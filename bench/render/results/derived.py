"""Rows that no run measures: shares of the device's peak, from FLOPs and throughput, and what others published.

`published_top1.csv`: torchvision's weights for ImageNet; for CIFAR-10 the paper's own value, or that of a reproduction
at its last epoch, and one chosen on the test images only where no other is known, which its `statistic` says. The
published network is ours: its parameters agree within 1 %, or with as many digits as were published.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from bench.config import Budget
from bench.metrics import DERIVED, METRICS
from bench.quantity import with_unit
from bench.records.record import Record
from bench.render.results.header import Limits, Model

TRAINING_PASSES = 3  # a backward pass computes two products for each of the forward pass


@dataclass(frozen=True)
class Peak:
    """What a device can do at most in one precision."""

    flops_per_s: float
    name: str  # "the vendor's dense bf16 peak of 989 TFLOP/s"
    source: str  # in brackets; empty where it was measured in this run
    measured: bool


def derived_records(records: Sequence[Record], limits: Iterable[Limits]) -> list[Record]:
    """A row of `achieved_flops_per_s`, `inference_mfu` or `mfu` for every measured throughput whose FLOPs are known.

    Each takes over the conditions, round and remarks of its throughput and all of its samples, so that its interval is
    the throughput's, scaled. A device without any peak gives skipped rows with the reason; a run that was made before
    limits were measured gives none.
    """
    flops = {r.model: r for r in records if r.metric == "flops" and r.value is not None}
    by_device = {limit.device: limit for limit in limits}
    derived: list[Record] = []
    for row in records:
        if row.value is None or row.model not in flops:
            continue
        work, known = flops[row.model], by_device.get(row.device)
        if row.metric == "inference_images_per_s":
            derived.append(_scaled(row, "achieved_flops_per_s", work, 1.0, row.note))
            derived += _share_of_peak(row, "inference_mfu", work, 1, known)
        elif row.metric == "train_images_per_s":
            derived += _share_of_peak(row, "mfu", work, TRAINING_PASSES, known)
    return derived


def with_lower_bounds(records: Sequence[Record]) -> list[Record]:
    """The rows, with the flag of a count that is a lower bound wherever a number rests on it.

    That is operations spent in training, operations for each byte, and everything trained under a budget of operations.
    """
    bounded = {row.model for row in records if row.metric in ("macs", "flops") and "lower_bound" in row.flags}
    return [
        _flagged(row, "lower_bound")
        if row.model in bounded and (row.unit in ("FLOPs", "FLOP/byte") or Budget.kind_of(row.budget) == "pflop")
        else row
        for row in records
    ]


def _flagged(row: Record, *flags: str) -> Record:
    return replace(row, flags=tuple(dict.fromkeys((*row.flags, *flags)))) if row.value is not None else row


def _share_of_peak(row: Record, metric: str, work: Record, passes: int, limits: Limits | None) -> Iterator[Record]:
    if limits is None:
        return
    peak = peak_of(limits, row.precision)
    if isinstance(peak, str):
        yield replace(_scaled(row, metric, work, 0.0, peak), value=None, samples=(), status="skipped", flags=())
        return
    share = _scaled(row, metric, work, passes / peak.flops_per_s, "")
    above = share.value is not None and share.value > 1
    reason = "above the peak, which was measured while the machine was busier" if peak.measured else "above the peak"
    notes = (f"share of {peak.name}{peak.source}", row.note, f"{reason}: not reliable" if above else "")
    share = replace(share, note="; ".join(note for note in notes if note))
    yield _flagged(share, "above_peak") if above else share


def peak_of(limits: Limits, precision: str) -> Peak | str:
    """The vendor's figure where it is known, else the one measured; or why there is neither."""
    if limits.precision != precision:
        return f"the peak of {limits.device} was measured in {limits.precision}, and this in {precision}"
    if limits.vendor_flops_per_s is not None:
        name = f"the vendor's dense {precision} peak of {with_unit(limits.vendor_flops_per_s, 'FLOP/s', 4)}"
        return Peak(limits.vendor_flops_per_s, name, f" ({limits.vendor_source})", measured=False)
    if limits.peak_flops_per_s is not None:
        peak = with_unit(limits.peak_flops_per_s, "FLOP/s", 4)
        name = f"{peak}, the fastest {precision} matrix product or convolution measured here"
        return Peak(limits.peak_flops_per_s, name, "", measured=True)
    return f"no peak of {limits.device} is known: {limits.reason or 'it was not measured'}"


def _scaled(row: Record, metric: str, work: Record, factor: float, note: str) -> Record:
    """The row times the operations of an image and a factor, flagged as both are."""
    assert row.value is not None
    assert work.value is not None
    factor *= work.value
    scaled = replace(
        row,
        probe=DERIVED,
        metric=metric,
        unit=METRICS[metric].unit,
        value=row.value * factor,
        samples=tuple(sample * factor for sample in row.samples),
        note=note,
        seconds=0.0,
    )
    return _flagged(scaled, *work.flags)


PUBLISHED_FILE = Path(__file__).parent / "published_top1.csv"
PUBLISHED = "published_top1"
_TRACKS = {"imagenet": "ImageNet", "cifar": "CIFAR-10"}


@dataclass(frozen=True)
class Published:
    top1: float  # fraction of the test images, of ImageNet the validation images
    dataset: str
    source: str  # who, how it was taken from several runs or epochs, and how it was trained, as far as is said


@cache
def published_top1() -> Mapping[str, Published]:
    """Network -> its published accuracy."""
    with PUBLISHED_FILE.open(encoding="utf-8", newline="") as file:
        return {row["model"]: _published(row) for row in csv.DictReader(file)}


def _published(row: Mapping[str, str]) -> Published:
    epochs = f"{row['epochs']} epochs" if row["epochs"] else ""
    source = ", ".join(filter(None, (row["source"], row["statistic"], epochs, row["augmentation"])))
    return Published(float(row["top1"]), row["dataset"], source)


def published_of(model: Model) -> Published | None:
    """The published accuracy of a network, if one is known: of the images and classes that it has here."""
    dataset = _TRACKS.get(model.track, "")
    found = published_top1().get(model.file_name.removeprefix("torchvision:"))
    other = model.own and (model.input_size, model.num_classes) != ((3, 224, 224), 1000)
    if found and found.dataset == dataset and not other:
        return found
    return Published(model.published_top1, dataset, model.published_source) if model.published_top1 else None


def published_records(models: Iterable[Model]) -> list[Record]:
    """A row of `published_top1` for each network that has one; its note is the source."""
    known = [(model, published_of(model)) for model in models]
    return [
        Record(model.name, DERIVED, PUBLISHED, found.top1, "fraction", "ok", note=found.source, dataset=found.dataset)
        for model, found in known
        if found
    ]
