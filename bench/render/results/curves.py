"""What a run kept in Parquet files: training curves, and the gradients of deep networks by depth."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import unquote

import pandas as pd

from bench.config import Budget

Currency = Literal["images", "seconds", "flops"]
_CURRENCIES: dict[str, Currency] = {"ep": "images", "kimg": "images", "s": "seconds", "pflop": "flops"}
_CURVE = ("images", "seconds", "flops", "train_loss", "test_top1")
_FLOW = ("activation", "initialisation", "batch_norm", "step", "depth", "gradient_norm")

Kept = TypeVar("Kept")


def read_tables(
    paths: Iterable[Path], columns: Sequence[str], read: Callable[[pd.DataFrame], Kept]
) -> tuple[dict[Path, Kept], list[str]]:
    """What `read` makes of the columns of each file that exists, and the names of the files that cannot be read."""
    found: dict[Path, Kept] = {}
    unreadable: list[str] = []
    for path in paths:
        if not path.exists():
            continue
        try:
            found[path] = read(pd.read_parquet(path, columns=list(columns)))
        except (OSError, ValueError, KeyError, TypeError):  # pyarrow's errors are kinds of these
            unreadable.append(path.name)
    return found, unreadable


@dataclass(frozen=True)
class Curve:
    """What one training measured of itself."""

    model: str
    seed: int
    budget: str  # empty: the run's first
    steps: pd.DataFrame  # images, seconds, flops, train_loss, test_top1


def read_curves(folder: Path) -> tuple[list[Curve], list[str]]:
    """The curves of a run, and the names of the files that cannot be read; both empty without the folder."""
    names = {path: re.fullmatch(r"(.+)-seed(\d+)(?:-([\d.]+[a-z]+))?", path.stem) for path in folder.glob("*.parquet")}
    named = {path: match for path, match in sorted(names.items()) if match is not None}
    found, unreadable = read_tables(named, _CURVE, lambda steps: steps.astype(float))
    curves = [
        Curve(unquote(match[1]), int(match[2]), match[3] or "", found[path])
        for path, match in named.items()
        if path in found
    ]
    return curves, unreadable


def own_currency(budget: str) -> Currency:
    """What a budget is counted in: against it, all curves end at the same place. Images where it is no budget."""
    return _CURRENCIES[Budget.kind_of(budget) or "kimg"]


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


def read_gradient_flows(folder: Path) -> tuple[list[GradientFlow], list[str]]:
    """The gradient flows of a run, and the names of the files that cannot be read; both empty without the folder."""
    found, unreadable = read_tables(sorted(folder.glob("*-gradient_flow.parquet")), _FLOW, lambda rows: rows)
    flows = [GradientFlow(unquote(path.stem.removesuffix("-gradient_flow")), rows) for path, rows in found.items()]
    return flows, unreadable
