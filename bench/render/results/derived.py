"""Rows that no run measures: shares of the device's peak, accuracies that others published, and the shipped reference.

`published_top1.csv`: torchvision's weights for ImageNet; for CIFAR-10 the paper's own value, or that of a reproduction
at its last epoch, and one chosen on the test images only where no other is known, which its `statistic` says. The
published network is ours: its parameters agree within 1 %, or with as many digits as were published.

`reference_top1.csv`: what this suite measured elsewhere, so that a short training need not be repeated. One row per
network and seed, of one run, on all training images, at the end of the budget, on all test images; `reference_table`
makes it from a stored run.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from bench.config import PRESETS, Budget, RequestError
from bench.metrics import DERIVED, METRICS
from bench.quantity import joined, with_unit
from bench.records.record import Record
from bench.records.run_folder import Model, Run, RunHeader
from bench.stats import wilson_interval

TRAINING_PASSES = 3  # a backward pass computes two products for each of the forward pass


@dataclass(frozen=True)
class Limits:
    """What one device can do at the run's precision, as measured in the run and as its vendor states it; 0: unknown."""

    device: str  # "cpu", "cuda:0"
    precision: str
    flops_per_s: float  # of the best large matrix product or convolution
    bytes_per_s: float  # of the best large copy, bytes read and written
    vendor_flops_per_s: float  # dense
    vendor_source: str
    reason: str  # why it was not measured

    @property
    def ridge(self) -> float:
        """FLOP/byte above which the device's arithmetic, and not its memory, is the limit; 0 where that is unknown."""
        return self.flops_per_s / self.bytes_per_s if self.bytes_per_s else 0.0


def limits_of(header: RunHeader) -> dict[str, Limits]:
    """By device."""
    return {
        device: Limits(
            device=device,
            precision=str(entry.get("precision") or ""),
            flops_per_s=_positive(entry.get("peak_flops_per_s")),
            bytes_per_s=_positive(entry.get("bandwidth_bytes_per_s")),
            vendor_flops_per_s=_positive(entry.get("vendor_flops_per_s")),
            vendor_source=str(entry.get("vendor_source") or ""),
            reason=str(entry.get("reason") or ""),
        )
        for device, entry in header.limits.items()
    }


def _positive(value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    return float(value) if number else 0.0  # type: ignore[arg-type]


@dataclass(frozen=True)
class Peak:
    """What a device can do at most in one precision."""

    flops_per_s: float
    name: str  # "the vendor's dense bf16 peak of 989 TFLOP/s"
    source: str  # in brackets; empty where it was measured in this run
    measured: bool


def derived_records(records: Sequence[Record], limits: Mapping[str, Limits]) -> list[Record]:
    """A row of `achieved_flops_per_s`, `inference_mfu` or `mfu` for every measured throughput whose FLOPs are known.

    Each takes over the conditions, round and remarks of its throughput and all of its samples, so that its interval is
    the throughput's, scaled. A device without any peak gives skipped rows with the reason; a run that was made before
    limits were measured gives none.
    """
    flops = {r.model: r for r in records if r.metric == "flops" and r.value is not None}
    derived: list[Record] = []
    for row in records:
        if row.value is None or row.model not in flops:
            continue
        work, known = flops[row.model], limits.get(row.device)
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
    share = replace(share, note=joined(*notes))
    yield _flagged(share, "above_peak") if above else share


def peak_of(limits: Limits, precision: str) -> Peak | str:
    """The vendor's figure where it is known, else the one measured; or why there is neither."""
    if limits.precision != precision:
        return f"the peak of {limits.device} was measured in {limits.precision}, and this in {precision}"
    if limits.vendor_flops_per_s:
        name = f"the vendor's dense {precision} peak of {with_unit(limits.vendor_flops_per_s, 'FLOP/s', 4)}"
        return Peak(limits.vendor_flops_per_s, name, f" ({limits.vendor_source})", measured=False)
    if limits.flops_per_s:
        peak = with_unit(limits.flops_per_s, "FLOP/s", 4)
        name = f"{peak}, the fastest {precision} matrix product or convolution measured here"
        return Peak(limits.flops_per_s, name, "", measured=True)
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
    source = joined(row["source"], row["statistic"], epochs, row["augmentation"], between=", ")
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


REFERENCE_FILE = Path(__file__).parent / "reference_top1.csv"
REFERENCE = "reference_top1"
_CHANCE = 0.1  # of ten classes
_TESTED = 10_000  # test images of CIFAR-10
_REFERENCE_HEAD = (
    "model,dataset,budget,seed,top1,tested,batch_size,precision,recipe,hardware,torch,torchvision,commit,run"
)


def reference_records(models: Iterable[Model], budget: str) -> list[Record]:
    """A row of `reference_top1` for each of the networks that the table has, and each of its seeds.

    Of the table's budgets the run's own counts, else the first. Nothing where no table is shipped.
    """
    text = REFERENCE_FILE.read_text(encoding="utf-8") if REFERENCE_FILE.exists() else ""
    table = list(csv.DictReader(text.splitlines()))
    budgets = dict.fromkeys(row["budget"] for row in table)
    chosen = budget if budget in budgets else next(iter(budgets), None)
    known = {model.name for model in models if not model.own}
    return [_record(row) for row in table if row["budget"] == chosen and row["model"] in known]


def _record(row: Mapping[str, str]) -> Record:
    return Record(
        row["model"],
        DERIVED,
        REFERENCE,
        float(row["top1"]),
        "fraction",
        "ok",
        note=f"measured on {row['hardware']} with PyTorch {row['torch']}, commit {row['commit']}",
        trials=int(row["tested"]),
        seed=int(row["seed"]),
        batch_size=int(row["batch_size"]),
        precision=row["precision"],
        hardware=row["hardware"],
        dataset=row["dataset"],
        budget=row["budget"],
        recipe=row["recipe"],
    )


def reference_source(row: Record) -> str:
    """After what training a row of `reference_top1` is, and where it was measured: a run's own may be another."""
    return f"{row.budget} of {row.dataset}, {row.recipe}, trained at batch {row.batch_size}; {row.note}"


def reference_table(run: Run, budget: str | None = None) -> str:
    """The table of a run as CSV, the networks in the order of their accuracy.

    Raises:
        RequestError: the run cannot be a reference; the message says what it lacks.
    """
    rows = [row for row in run.records() if row.metric == "top1" and row.value is not None and _is_of_track(row.model)]
    budgets = list(dict.fromkeys(str(row.budget) for row in rows))
    if budget is None and len(budgets) > 1:
        raise RequestError(f"run {run.name} has several budgets: choose one with --budget ({', '.join(budgets)})")
    if budget is not None and budget not in budgets:
        raise RequestError(
            f"run {run.name} has no trainings under {budget}; it has {', '.join(budgets) or 'none at all'}"
        )
    rows = [row for row in rows if budget in (None, row.budget)]
    _check(run, rows)
    mean = {name: sum(row.value or 0.0 for row in rows if row.model == name) for name in {row.model for row in rows}}
    facts = run.header.environment
    text = io.StringIO()
    columns = _REFERENCE_HEAD.split(",")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in sorted(rows, key=lambda row: (-mean[row.model], row.model, row.seed)):
        writer.writerow(
            {name: getattr(row, name, facts.get(name, "")) for name in columns}
            | {"top1": row.value, "tested": row.trials, "run": run.name}
        )
    return text.getvalue()


def _check(run: Run, rows: Sequence[Record]) -> None:
    """Every network of `quick` must be there, above chance, trained and tested on whole data sets of one kind."""
    due = [name for name in PRESETS["quick"].models if _is_of_track(name)]
    missing = [name for name in due if name not in {row.model for row in rows}]
    if missing:
        raise RequestError(f"run {run.name} lacks {', '.join(missing)}: a reference has every network of quick")
    seeds = {name: {row.seed for row in rows if row.model == name} for name in due}
    if len(set(map(frozenset, seeds.values()))) > 1:
        raise RequestError(f"run {run.name} has more seeds of some networks than of others")
    for what, values in (
        ("data set", {row.dataset for row in rows}),
        ("budget", {row.budget for row in rows}),
        ("number of test images", {row.trials for row in rows}),
    ):
        if len(values) > 1:
            raise RequestError(f"run {run.name} has more than one {what}: {', '.join(map(str, values))}")
    if str(rows[0].dataset).partition("-")[0] != "cifar10":
        raise RequestError(f"run {run.name} was trained on {rows[0].dataset}: a reference is trained on CIFAR-10")
    if rows[0].trials != _TESTED:
        raise RequestError(
            f"run {run.name} was tested on {rows[0].trials} images: a reference is tested on all {_TESTED}"
        )
    guessing = [row.model for row in rows if row.trials and wilson_interval(row.value or 0.0, row.trials)[0] <= _CHANCE]
    if guessing:
        raise RequestError(f"{', '.join(guessing)} did not start: a defect of the recipe, not a reference")


def _is_of_track(model: str) -> bool:
    """Whether it is a network of the registry's cifar track, whose names end in it."""
    return model.endswith("_cifar") and ":" not in model
