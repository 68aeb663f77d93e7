"""Results -> tables of text, one per track, which report.md and index.html print each in its own way."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.metrics import Metric
from bench.render.conditions import accuracy_conditions, throughput_conditions, track_conditions
from bench.render.header import Model
from bench.render.quantity import measured
from bench.render.table import NOT_RUN, Results

# In table.csv only: restatements of another column, and what the charts show better.
_NOT_SHOWN = ("flops", "macs_fvcore", "train_loss")
_HEADINGS = {"count": "", "bytes/image": "per image", "images/s": "images/s", "fraction": "", "s": ""}


@dataclass(frozen=True)
class Column:
    heading: str
    detail: str  # unit and conditions, in smaller print


@dataclass(frozen=True)
class TextCell:
    text: str
    order: float | None = None  # what to sort by; None sorts last
    best: bool = False
    at_chance: bool = False
    status: str = "ok"
    hint: str = ""  # the exact number, or the reason why there is none


@dataclass(frozen=True)
class Row:
    model: Model
    cells: tuple[TextCell, ...]


@dataclass(frozen=True)
class TrackTable:
    track: str
    conditions: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def any_at_chance(self) -> bool:
        return any(cell.at_chance for row in self.rows for cell in row.cells)


def track_tables(results: Results) -> list[TrackTable]:
    """A table per track, in reading order, with a column for every score that was tried on some network of it."""
    return [_table(results, track, models) for track, models in results.tracks().items()]


def _table(results: Results, track: str, models: Sequence[Model]) -> TrackTable:
    metrics = [
        metric
        for metric in results.metrics()
        if metric.better is not None
        and metric.name not in _NOT_SHOWN
        and any(results.cell(model, metric.name).status not in (NOT_RUN, "skipped") for model in models)
    ]
    if all(_is_time_budget(results, model) for model in models):  # then the time is the budget, not a score
        metrics = [metric for metric in metrics if metric.name != "train_seconds"]
    metrics.sort(key=lambda metric: metric.name != "top1")  # what it buys first, then what it costs
    columns = [_column(results, models, metric) for metric in metrics]
    by_metric = [_cells(results, models, metric) for metric in metrics]
    return TrackTable(
        track=track,
        conditions=(
            track_conditions(models),
            *(accuracy_conditions(results, group) for group in results.accuracy_groups() if group.track == track),
        ),
        columns=tuple(columns),
        rows=tuple(Row(model, tuple(cells[i] for cells in by_metric)) for i, model in enumerate(models)),
    )


def _is_time_budget(results: Results, model: Model) -> bool:
    rows = results.cell(model, "train_seconds").records
    return all(re.fullmatch(r"[\d.]+s", row.budget or "") for row in rows)


def _column(results: Results, models: Sequence[Model], metric: Metric) -> Column:
    details = [_HEADINGS.get(metric.unit, metric.unit)]
    if metric.probe == "throughput":
        details.append(throughput_conditions(results, models, metric))
    return Column(metric.label, ", ".join(detail for detail in details if detail))


def _cells(results: Results, models: Sequence[Model], metric: Metric) -> list[TextCell]:
    cells = [results.cell(model, metric.name) for model in models]
    values = [cell.value for cell in cells if cell.measured]
    best = (min if metric.better == "lower" else max)(values, default=math.nan)
    texts = []
    for model, cell in zip(models, cells, strict=True):
        if not cell.measured:
            reasons = dict.fromkeys(record.note for record in cell.records if record.note)
            text = "–" if cell.status in (NOT_RUN, "skipped") else cell.status
            texts.append(TextCell(text, status=cell.status, hint="; ".join(reasons) or cell.status))
            continue
        texts.append(
            TextCell(
                measured(cell.value, cell.low, cell.high, metric.unit),
                order=cell.value,
                best=cell.value == best,
                at_chance=metric.name == "top1" and results.at_chance(model),
                status=cell.status,
                hint=f"{cell.value:.10g} {metric.unit}",
            )
        )
    if len({text.text for text in texts if text.order is not None}) == 1:  # nothing that a reader could tell apart
        return [replace(text, best=False) for text in texts]
    return texts
