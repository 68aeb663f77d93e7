"""Accuracies after full training that others published, from the packaged table or from what the run wrote down.

`published_top1.csv`: torchvision's weights for ImageNet; for CIFAR-10 the paper's own value, or that of a reproduction
at its last epoch, and one chosen on the test images only where no other is known, which its `statistic` says. The
published network is ours: its parameters agree within 1 %, or with as many digits as were published.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.metrics import DERIVED
from bench.records.record import Record
from bench.render.results.header import Model

FILE = Path(__file__).parent / "published_top1.csv"
METRIC = "published_top1"
_TRACKS = {"imagenet": "ImageNet", "cifar": "CIFAR-10"}


@dataclass(frozen=True)
class Published:
    top1: float  # fraction of the test images, of ImageNet the validation images
    dataset: str
    source: str  # who, how it was taken from several runs or epochs, and how it was trained, as far as is said


@cache
def published_top1() -> Mapping[str, Published]:
    """Network -> its published accuracy."""
    with FILE.open(encoding="utf-8", newline="") as file:
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
        Record(model.name, DERIVED, METRIC, found.top1, "fraction", "ok", note=found.source, dataset=found.dataset)
        for model, found in known
        if found
    ]
