"""The stored runs of one device as series: each metric of each network over time, and where it changed."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from bench.metrics import METRICS, PROBES
from bench.records.record import Conditions, Record
from bench.records.run_folder import Run, RunError, run_names
from bench.stats import ChangePoint, Interval, change_points, rounds_interval

Stored = tuple[Run, Sequence[Record]]  # a run, and its rows that have a value of the metrics in question
# What a reader asks for first: speed, accuracy and size.
DEFAULT_METRICS = (
    *("inference_images_per_s", "train_images_per_s", "latency_ms"),
    *("top1", "peak_training_bytes", "params", "macs"),
)


@dataclass(frozen=True)
class RunPoint:
    """A metric in one run: the geometric mean over rounds or seeds, with an interval where there are several."""

    run: str
    created: str  # ISO time
    commit: str  # empty where the run did not know it
    value: float
    interval: Interval


@dataclass(frozen=True)
class Series:
    """One metric of one network under one set of conditions, in the order of time."""

    model: str
    metric: str
    conditions: tuple[str, ...]  # ("batch 16", "fp32")
    points: tuple[RunPoint, ...]
    changes: tuple[ChangePoint, ...] = ()

    @property
    def unit(self) -> str:
        return METRICS[self.metric].unit

    @property
    def exact(self) -> bool:
        return PROBES[METRICS[self.metric].probe].exact


def runs_in(results: Path, metrics: Sequence[str]) -> tuple[list[Stored], list[str]]:
    """The runs of a folder, oldest first, with what they measured of some of METRICS; and who cannot be read."""
    runs: list[Stored] = []
    unreadable = []
    for name in run_names(results):
        try:
            run = Run.open(results, name)
            runs.append((run, [row for row in run.records() if row.status == "ok" and row.metric in metrics]))
        except RunError:  # a damaged one must not end the report of another
            unreadable.append(name)
    return sorted(runs, key=lambda stored: stored[0].header.created), unreadable


def history(runs: Sequence[Stored], metrics: Sequence[str], margin: float) -> list[Series]:
    """Series of these metrics over runs of one device, in the order of time; a series needs two runs."""
    found: dict[tuple[str, str, Conditions], list[RunPoint]] = defaultdict(list)
    for run, records in runs:
        cells: dict[tuple[str, str, Conditions], list[Record]] = defaultdict(list)
        for record in records:
            cells[record.model, record.metric, record.conditions].append(record)
        for key, rows in cells.items():
            point = _point(run, rows)
            if point:
                found[key].append(point)
    several = len({conditions.hardware for _, _, conditions in found} - {""}) > 1
    series = [
        Series(model, metric, (under.hardware, *under.words) if several else under.words, tuple(points))
        for (model, metric, under), points in found.items()
        if len(points) > 1
    ]
    series.sort(key=lambda one: metrics.index(one.metric))
    noisy = [one for one in series if not one.exact]
    changes = iter(change_points([[point.value for point in one.points] for one in noisy], margin))
    return [replace(one, changes=tuple(_exact_changes(one) if one.exact else next(changes))) for one in series]


def _point(run: Run, rows: Sequence[Record]) -> RunPoint | None:
    """The mean over rounds or seeds; None for values of zero, which have no geometric mean."""
    values = [row.value for row in rows if row.value is not None and row.value > 0]
    if not values:
        return None
    environment = run.header.environment
    commit = f"{environment.get('commit', '')}{'+' if environment.get('uncommitted_changes') else ''}"
    interval = rounds_interval([[value] for value in values]) if len(values) > 2 else (math.nan, math.nan)
    return RunPoint(run.name, run.header.created, commit, statistics.geometric_mean(values), interval)


def _exact_changes(series: Series) -> list[ChangePoint]:
    values = [point.value for point in series.points]
    return [
        ChangePoint(place, now / before, 0.0)
        for place, (before, now) in enumerate(pairwise(values), 1)
        if before != now
    ]
