"""What a run kept beside its records: training curves, gradients by depth, layers, structures, confusions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import unquote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config import Budget
from bench.quantity import with_unit
from bench.records.record import Record
from bench.records.run_folder import Run, RunError, file_stem
from bench.render.results.networks import Model

Currency = Literal["images", "seconds", "flops"]
_CURRENCIES: dict[str, Currency] = {"ep": "images", "kimg": "images", "s": "seconds", "pflop": "flops"}
UNITS: dict[Currency, str] = {"images": "images", "seconds": "s", "flops": "FLOPs"}

Found = TypeVar("Found")


class Kept:
    """The files of a run, each read when it is asked for.

    What an older run did not keep is empty. A damaged file is left out, and named in `unreadable`.
    """

    def __init__(self, run: Run, models: Sequence[Model]) -> None:
        self._run, self._models = run, models
        self.unreadable: list[str] = []

    def curves(self) -> list[Curve]:
        """Of every training, by the names of their files."""
        written = re.compile(r"(.+)-seed(\d+)(?:-([\d.]+[a-z]+))?")
        paths = sorted(self._run.curves.glob("*.parquet"))
        named = {path: match for path in paths if (match := written.fullmatch(path.stem))}
        columns = ("images", "seconds", "flops", "train_loss", "test_top1")
        found = self._tables(named, columns, lambda steps: steps.astype(float))
        return [
            Curve(self._network_of(match[1]), int(match[2]), match[3] or "", found[path])
            for path, match in named.items()
            if path in found
        ]

    def gradient_flows(self) -> list[GradientFlow]:
        """Of every network whose gradients were followed."""
        ending = "-gradient_flow"
        columns = ("activation", "initialisation", "batch_norm", "step", "depth", "gradient_norm")
        found = self._tables(sorted(self._run.curves.glob(f"*{ending}.parquet")), columns, lambda rows: rows)
        return [GradientFlow(self._network_of(path.stem.removesuffix(ending)), rows) for path, rows in found.items()]

    def layers(self) -> dict[str, Layers]:
        """By network; one that was measured on two kinds of hardware has one file."""
        paths = {model.name: self._run.table_path("layers", model.file_name) for model in self._models}
        found = self._tables(dict.fromkeys(paths.values()), COLUMNS, _layer_rows)
        return {name: Layers(name, found[path]) for name, path in paths.items() if path in found}

    def networks(self) -> Mapping[str, Any]:
        """Structures by network."""
        try:
            return self._run.networks()
        except RunError:
            self.unreadable.append("networks.json")
            return {}

    def data_sets(self) -> list[DataSet]:
        """Those of the run's header."""
        found = []
        for track, entry in self._run.header.image_sets.items():
            if not entry.get("name"):
                continue
            name, classes = str(entry["name"]), entry.get("classes")
            known = tuple(map(str, classes)) if isinstance(classes, list | tuple) else ()  # a tuple in a run just made
            try:
                sheet = self._run.sheet_path(str(track), name).read_bytes()
            except OSError:
                sheet = b""
            found.append(DataSet(str(track), name, known, sheet))
        return found

    def confusions(self, records: Iterable[Record], classes: int) -> Confusions | None:
        """Of the trainings behind some accuracies of one network; None without a file."""
        counts = np.zeros((classes, classes), dtype=np.int64)
        tested = np.zeros(classes, dtype=np.int64)
        paths = [self._run.table_path("confusions", record.model, f"seed{record.seed}") for record in records]
        found = self._tables(paths, ("label", "predicted", "count"), lambda table: _confused(table, classes))
        for label, predicted, count in found.values():
            np.add.at(tested, label, count)
            known = predicted < classes  # a network may have more outputs than there are classes
            np.add.at(counts, (label[known], predicted[known]), count[known])
        return Confusions(counts, tested) if tested.any() else None

    def _tables(
        self, paths: Iterable[Path], columns: Sequence[str], read: Callable[[pd.DataFrame], Found]
    ) -> dict[Path, Found]:
        """What `read` makes of the columns of each file that exists."""
        found: dict[Path, Found] = {}
        for path in paths:
            if not path.exists():
                continue
            try:
                found[path] = read(pd.read_parquet(path, columns=list(columns)))
            except (OSError, ValueError, KeyError, TypeError):  # pyarrow's errors are kinds of these
                self.unreadable.append(path.name)
        return found

    def _network_of(self, stem: str) -> str:
        """The network that a file is named after; a long name is cut there, and told by the names of the run."""
        names = (model.file_name for model in self._models)
        return next((name for name in names if file_stem(name) == stem), unquote(stem))


@dataclass(frozen=True)
class Curve:
    """What one training measured of itself."""

    model: str
    seed: int
    budget: str  # empty: the run's first
    steps: pd.DataFrame  # images, seconds, flops, train_loss, test_top1


def own_currency(budget: str) -> Currency:
    """What a budget is counted in: against it, all curves end at the same place. Images where it is no budget."""
    return _CURRENCIES[Budget.kind_of(budget) or "kimg"]


def spent(amount: float, currency: Currency) -> str:
    """As "50 k images", "12 s" or "3.4 PFLOPs"."""
    return with_unit(amount, UNITS[currency], 2) + (" images" if currency == "images" else "")


@dataclass(frozen=True)
class GradientFlow:
    """What the probe of one network kept: a row per variant, step and convolution."""

    model: str
    rows: pd.DataFrame  # activation, initialisation, batch_norm, step, depth, gradient_norm

    def norms(self, activation: str, initialisation: str, batch_norm: bool, *, last: bool) -> pd.Series:
        """By depth, at initialisation or after the last step; empty where that was not measured."""
        rows = self.rows
        rows = rows[(rows.activation == activation) & (rows.initialisation == initialisation)]
        rows = rows[rows.batch_norm == batch_norm]
        steps = rows.step.unique()
        if last and len(steps) < 2:
            return pd.Series(dtype=float)
        rows = rows[rows.step == (max(steps) if last else 0)] if len(steps) else rows
        return rows.set_index("depth").gradient_norm.sort_index()


NUMBERS = ("params", "macs", "activations", "saved_activation_bytes")
COLUMNS = ("layer", "operation", "output_shape", *NUMBERS)
THIRDS = ("first third", "middle third", "last third")


@dataclass(frozen=True)
class Layers:
    """The calls of a network in their order, a row each, with the columns of `COLUMNS`."""

    model: str
    rows: pd.DataFrame

    def thirds(self, column: str) -> tuple[float, float, float] | None:
        """Shares of a column in the first, middle and last third of the layers that multiply; None where it is all 0.

        What lies between two such layers belongs to the one before it.
        """
        total = float(self.rows[column].sum())
        multiplies = self.rows["macs"] > 0
        count = int(multiplies.sum())
        if total <= 0 or count == 0:
            return None
        place = (multiplies.cumsum() - 1).clip(lower=0)
        third = (3 * place) // count
        first, middle, last = (float(self.rows[column][third == number].sum()) / total for number in range(3))
        return first, middle, last

    def share(self, column: str, operation: str) -> float:
        """Of the calls of one kind of module, such as "Linear"."""
        total = float(self.rows[column].sum())
        return float(self.rows[column][self.rows["operation"] == operation].sum()) / total if total else 0.0


def _layer_rows(table: pd.DataFrame) -> pd.DataFrame:
    rows = table.astype(dict.fromkeys(NUMBERS, float))
    return rows.assign(output_shape=rows["output_shape"].map(tuple))


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


def _confused(table: pd.DataFrame, classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Label, predicted class and count of each row.

    Raises:
        ValueError: they are no counts of these classes.
    """
    label, predicted, count = (table[name].to_numpy(dtype=np.int64) for name in ("label", "predicted", "count"))
    if not ((label >= 0) & (label < classes) & (predicted >= 0) & (count >= 0)).all():
        raise ValueError("not the classes of this data set")
    return label, predicted, count
