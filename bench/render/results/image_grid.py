"""The images of a run, and what its trained networks took them for: read from its folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.records.record import Record
from bench.records.run_folder import Run
from bench.render.results.curves import read_tables


@dataclass(frozen=True)
class DataSet:
    """A data set as the run knew it; anything may be empty."""

    track: str
    name: str
    classes: tuple[str, ...]
    sheet: bytes  # PNG: an image of each of the first classes, from left to right


@dataclass(frozen=True)
class Confusions:
    """How many test images of each class (row) were taken for each (column), over the seeds of one network."""

    counts: NDArray[np.int64]  # (classes, classes)
    tested: NDArray[np.int64]  # (classes,): of each class, whatever they were taken for

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of the tested images of each class."""
        shares: NDArray[np.float64] = self.counts / np.maximum(self.tested, 1)[:, None]
        return shares

    def most_confused(self, most: int) -> list[tuple[int, int, float]]:
        """(class, what it is taken for, share of the class), the largest shares first; only pairs that occur."""
        shares = self.shares
        np.fill_diagonal(shares, 0)
        order = np.argsort(-shares, axis=None, kind="stable")[:most]
        pairs = [(int(place) // len(shares), int(place) % len(shares)) for place in order]
        return [(label, other, float(shares[label, other])) for label, other in pairs if shares[label, other] > 0]


def read_data_sets(run: Run) -> list[DataSet]:
    """Of the run's header, with the images that the run kept; older runs kept none."""
    found = []
    for track, entry in run.header.image_sets.items():
        if not entry.get("name"):
            continue
        name, classes = str(entry["name"]), entry.get("classes")
        known = tuple(map(str, classes)) if isinstance(classes, list | tuple) else ()  # a tuple in a run just made
        try:
            sheet = run.samples_path(str(track), name).read_bytes()
        except OSError:
            sheet = b""
        found.append(DataSet(str(track), name, known, sheet))
    return found


def read_confusions(run: Run, records: Iterable[Record], classes: int) -> tuple[Confusions | None, list[str]]:
    """Of the trainings behind some accuracies of one network, and the names of the files that cannot be read.

    None where there is no file: older runs kept none.
    """
    counts = np.zeros((classes, classes), dtype=np.int64)
    tested = np.zeros(classes, dtype=np.int64)
    paths = [run.confusion_path(record.model, f"seed{record.seed}") for record in records]
    found, unreadable = read_tables(paths, ("label", "predicted", "count"), lambda table: _columns(table, classes))
    for label, predicted, count in found.values():
        np.add.at(tested, label, count)
        known = predicted < classes  # a network may have more outputs than there are classes
        np.add.at(counts, (label[known], predicted[known]), count[known])
    return (Confusions(counts, tested) if tested.any() else None), unreadable


def _columns(table: pd.DataFrame, classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Label, predicted class and count of each row.

    Raises:
        ValueError: they are no counts of these classes.
    """
    label, predicted, count = (table[name].to_numpy(dtype=np.int64) for name in ("label", "predicted", "count"))
    if not ((label >= 0) & (label < classes) & (predicted >= 0) & (count >= 0)).all():
        raise ValueError("not the classes of this data set")
    return label, predicted, count
