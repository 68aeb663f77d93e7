"""Results -> tables of text by track and topic, which report.md, index.html and the terminal print each in its way.

TOPICS says which metrics stand together, MARKS which numbers must not be read like their neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.config import Budget
from bench.metrics import DERIVED, METRICS, Metric, probe_named
from bench.quantity import measured
from bench.render.results import NOT_RUN, Cell, Results
from bench.render.results.header import Model
from bench.render.tables.subtitles import (
    accuracy_conditions,
    label_of,
    step_conditions,
    track_conditions,
    usual_execution,
)


@dataclass(frozen=True)
class Mark:
    symbol: str
    meaning: str  # completes "this number ..."


CHANCE = Mark("†", "no better than chance")
UNSTEADY = Mark("‡", "timing had not settled")
SMALLER_BATCH = Mark(
    "§", "measured at a smaller batch because the common one did not fit: not comparable within this column"
)
THROTTLED = Mark("°", "the GPU's clock was held back, by its power limit or heat, while this was timed")
LAUNCH_BOUND = Mark("¶", "launch-bound: the device waits for the host, so this is the speed of both together")
PREDICTED = Mark("≈", "predicted, not measured")
INCOMPLETE = Mark("!", "a seed or round failed and is missing here")
LOWER_BOUND = Mark("≥", "a lower bound, or based on one: the network has an operator that cannot be counted")
ABOVE_PEAK = Mark("?", "more than the device can do: not reliable")
MARKS = (CHANCE, UNSTEADY, THROTTLED, SMALLER_BATCH, LAUNCH_BOUND, PREDICTED, LOWER_BOUND, ABOVE_PEAK, INCOMPLETE)


def marks_of(results: Results, model: Model, metric: str) -> tuple[Mark, ...]:
    """The marks of one number, in the order of MARKS; none where there is no number."""
    cell = results.cell(model, metric)
    if not cell.measured:
        return ()
    found = (
        (CHANCE, metric == "top1" and results.at_chance(model)),
        (UNSTEADY, "unsteady" in cell.flags),
        (THROTTLED, "throttled" in cell.flags),
        (SMALLER_BATCH, cell.asked_batch_size is not None),
        (LAUNCH_BOUND, launch_bound(results, model, metric)),
        (PREDICTED, cell.predicted),
        (LOWER_BOUND, "lower_bound" in cell.flags),
        (ABOVE_PEAK, "above_peak" in cell.flags),
        (INCOMPLETE, bool(cell.lost)),
    )
    return tuple(mark for mark, holds in found if holds)


def launch_bound(results: Results, model: Model, metric: str) -> bool:
    """Whether the device's own time of the same step is far below that of the whole step."""
    known = METRICS.get(metric)
    return known is not None and "launch_bound" in results.cell(model, known.device_time).flags


@dataclass(frozen=True)
class Topic:
    title: str
    metrics: tuple[str, ...]  # in the order of their columns


# One table that fits on a screen: what a network buys, then what it costs.
OVERVIEW = (
    "top1",
    "params",
    "macs",
    "peak_training_bytes",
    "inference_images_per_s",
    "train_images_per_s",
    "latency_ms",
    "energy_joules_per_image",
    "mfu",
)

TOPICS = (
    Topic("Accuracy and training", ("top1", "reference_top1", "published_top1", "train_seconds", "compile_seconds")),
    Topic(
        "How soon an accuracy is reached",
        tuple(f"{currency}_to_{level}" for level in (70, 80, 90) for currency in ("seconds", "images", "flops")),
    ),
    Topic("Size and work", ("params", "macs", "activations", "traffic_bytes", "arithmetic_intensity")),
    Topic(
        "Memory of a training step",
        (
            "peak_training_bytes",
            "predicted_training_bytes",
            "reserved_training_bytes",
            "weight_bytes",
            "gradient_bytes",
            "optimizer_bytes",
            "activation_bytes",
            "workspace_bytes",
            "saved_activation_bytes",
            "largest_training_batch",
        ),
    ),
    Topic(
        "Memory of inference",
        (
            "peak_inference_bytes",
            "predicted_inference_bytes",
            "reserved_inference_bytes",
            "largest_inference_batch",
        ),
    ),
    Topic(
        "Speed",
        (
            "inference_images_per_s",
            "best_inference_images_per_s",
            "inference_device_ms",
            "train_images_per_s",
            "best_train_images_per_s",
            "train_device_ms",
            "train_forward_ms",
            "train_backward_ms",
            "train_optimizer_ms",
            "latency_ms",
            "latency_p95_ms",
            "latency_p99_ms",
        ),
    ),
    Topic(
        "Gradients from the first layer to the last",
        ("gradient_norm_ratio", "gradient_norm_ratio_sigmoid", "gradient_norm_ratio_batch_norm"),
    ),
    Topic(
        "Energy and utilisation",
        (
            "energy_joules_per_image",
            "train_energy_joules_per_image",
            "achieved_flops_per_s",
            "inference_mfu",
            "mfu",
        ),
    ),
)

# In table.csv only: the numbers of another column once more, and what training curves show better.
_RESTATED = ("flops", "macs_fvcore", "train_loss")


def by_topic(metrics: Sequence[Metric]) -> list[tuple[str, list[Metric]]]:
    """The metrics that tables show, under the titles of their topics; scores that no topic names come last."""
    known = {metric.name: metric for metric in metrics}
    topics = [(topic.title, [known[name] for name in topic.metrics if name in known]) for topic in TOPICS]
    named = {name for topic in TOPICS for name in topic.metrics}
    others = [m for m in metrics if m.name not in named and m.name not in _RESTATED and m.better is not None]
    return [(title, columns) for title, columns in [*topics, ("Other measurements", others)] if columns]


_SAID_BY_THE_NUMBER = ("count", "images", "FLOPs", "FLOP/s", "bytes", "fraction", "s", "J")  # units with prefix or sign
_HEADINGS = {**dict.fromkeys(_SAID_BY_THE_NUMBER, ""), "bytes/image": "per image"}


@dataclass(frozen=True)
class Column:
    name: str  # of the metric
    heading: str
    detail: str  # unit and conditions, in smaller print


@dataclass(frozen=True)
class TextCell:
    text: str
    order: float | None = None  # what to sort by; None sorts last
    interval: tuple[float, float] | None = None
    best: bool = False
    marks: tuple[Mark, ...] = ()
    competes: bool = False  # whether it may be called best or ranked
    aside: str = ""  # what belongs to this number alone, in smaller print: its batch size
    status: str = "ok"
    hint: str = ""  # the exact number and its notes, or the reason why there is none

    @property
    def symbols(self) -> str:
        return "".join(mark.symbol for mark in self.marks)

    @property
    def at_chance(self) -> bool:
        return CHANCE in self.marks


@dataclass(frozen=True)
class Row:
    model: Model
    cells: tuple[TextCell, ...]


@dataclass(frozen=True)
class Table:
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def legend(self) -> tuple[Mark, ...]:
        """The marks that occur."""
        used = {mark for row in self.rows for cell in row.cells for mark in cell.marks}
        return tuple(mark for mark in MARKS if mark in used)


@dataclass(frozen=True)
class TrackTables:
    track: str
    conditions: tuple[str, ...]
    overview: Table
    topics: tuple[Table, ...]  # those that say more than the overview


def track_tables(results: Results) -> list[TrackTables]:
    """The tables of each track, in reading order; a column for every score that was tried on some network of it."""
    return [_of_track(results, track, models) for track, models in results.tracks().items()]


def _of_track(results: Results, track: str, models: Sequence[Model]) -> TrackTables:
    topics = by_topic([metric for metric in results.metrics() if _tried(results, models, metric)])
    usual = usual_execution(results, models, [metric for _, metrics in topics for metric in metrics])
    shown = [metric for _, metrics in topics for metric in metrics]
    first = [metric for name in OVERVIEW for metric in shown if metric.name == name]
    # A run of a few probes needs no second table: everything is in the first.
    first = shown if len(shown) <= len(OVERVIEW) else first
    return TrackTables(
        track=track,
        conditions=(
            " · ".join(words for words in (track_conditions(models), usual and f"steps in {usual}") if words),
            *(accuracy_conditions(results, group) for group in results.accuracy_groups() if group.track == track),
        ),
        overview=_table(results, "Overview", models, first, usual),
        topics=tuple(
            _table(results, title, models, metrics, usual)
            for title, metrics in topics
            if not set(metrics) <= set(first)
        ),
    )


def _tried(results: Results, models: Sequence[Model], metric: Metric) -> bool:
    """Whether a table has something to say of it: a number or a failure, and not the budget or a peak once more."""
    if metric.name == "train_seconds" and all(_is_time_budget(results, model) for model in models):
        return False
    if restates_a_peak(results, models, metric):
        return False
    return any(results.cell(model, metric.name).status not in (NOT_RUN, "skipped") for model in models)


def restates_a_peak(results: Results, models: Sequence[Model], metric: Metric) -> bool:
    """Whether it predicts what, for want of a measurement, is predicted under its own name too."""
    if not metric.predicts:
        return False
    peaks = [results.cell(model, metric.predicts) for model in models]
    return any(peak.measured for peak in peaks) and all(peak.predicted for peak in peaks if peak.measured)


def _is_time_budget(results: Results, model: Model) -> bool:
    rows = results.cell(model, "train_seconds").records
    return all(Budget.kind_of(row.budget) == "s" for row in rows)


def _table(results: Results, title: str, models: Sequence[Model], metrics: Sequence[Metric], usual: str) -> Table:
    by_metric = [_cells(results, models, metric) for metric in metrics]
    return Table(
        title=title,
        columns=tuple(_column(results, models, metric, usual) for metric in metrics),
        rows=tuple(Row(model, tuple(cells[i] for cells in by_metric)) for i, model in enumerate(models)),
    )


def _column(results: Results, models: Sequence[Model], metric: Metric, usual: str) -> Column:
    details = (_HEADINGS.get(metric.unit, metric.unit), step_conditions(results, models, metric, usual))
    return Column(metric.name, label_of(results, models, metric), ", ".join(detail for detail in details if detail))


def _cells(results: Results, models: Sequence[Model], metric: Metric) -> list[TextCell]:
    texts = [_cell(results, model, metric) for model in models]
    if all(PREDICTED in text.marks for text in texts if text.order is not None):  # then the heading says so
        texts = [replace(text, marks=tuple(mark for mark in text.marks if mark != PREDICTED)) for text in texts]
    values = [text.order for text in texts if text.order is not None and text.competes]
    if metric.better is None or len({text.text for text in texts if text.order is not None}) < 2:
        return texts  # nothing that a reader could tell apart
    best = (min if metric.better == "lower" else max)(values, default=math.nan)
    return [replace(text, best=text.competes and text.order == best) for text in texts]


def _cell(results: Results, model: Model, metric: Metric) -> TextCell:
    cell = results.cell(model, metric.name)
    notes = dict.fromkeys(record.note for record in (*cell.records, *cell.lost) if record.note)
    if not cell.measured:
        text = "–" if cell.status in (NOT_RUN, "skipped") else cell.status
        return TextCell(text, status=cell.status, hint="; ".join(notes) or cell.status)
    return TextCell(
        measured(cell.value, cell.low, cell.high, metric.unit),
        order=cell.value,
        interval=(cell.low, cell.high) if cell.has_interval else None,
        marks=marks_of(results, model, metric.name),
        competes=cell.competes,
        aside=_own_batch(cell, metric),
        status=cell.status,
        hint="; ".join((f"{cell.value:.10g} {metric.unit}", *notes)),
    )


def _own_batch(cell: Cell, metric: Metric) -> str:
    """Such as "batch 64" where the heading cannot say it for all."""
    own = probe_named(metric.probe).own_batch or (cell.asked_batch_size is not None and metric.probe != DERIVED)
    return f"batch {cell.batch_size}" if own and cell.batch_size else ""
