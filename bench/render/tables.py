"""Results -> tables of text by track and topic, which report.md, index.html and the terminal print each in its way.

TOPICS says which metrics stand together, MARKS which numbers must not be read like their neighbours.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import rich.table
from rich.console import Console
from rich.text import Text

from bench.config import Budget, execution_words
from bench.metrics import DERIVED, METRICS, Metric, probe_named
from bench.quantity import in_sentence, joined, ordinal, unit_beside
from bench.records.record import Record
from bench.records.run_folder import Run
from bench.render.results import NOT_RUN, AccuracyGroup, Cell, Results, read_results
from bench.render.results.networks import Model


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
INCOMPLETE = Mark("!", "a seed or round failed, or did not fit into memory at this batch, and is missing here")
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


# In this order where as many networks have them: what the run measured itself comes first.
ACCURACY_COLUMNS = ("top1", "reference_top1", "published_top1")
# One table that fits on a screen: what a network buys, then what it costs. Networks that were not trained have another
# accuracy beside it, in a column of its own.
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

TOPICS: tuple[tuple[str, tuple[str, ...]], ...] = (  # titles, and metrics in the order of their columns
    ("Accuracy and training", (*ACCURACY_COLUMNS, "train_seconds", "compile_seconds")),
    (
        "How soon an accuracy is reached",
        tuple(f"{currency}_to_{level}" for level in (70, 80, 90) for currency in ("seconds", "images", "flops")),
    ),
    ("Size and work", ("params", "macs", "activations", "traffic_bytes", "arithmetic_intensity")),
    (
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
    (
        "Memory of inference",
        ("peak_inference_bytes", "predicted_inference_bytes", "reserved_inference_bytes", "largest_inference_batch"),
    ),
    (
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
            "replayed_latency_ms",
        ),
    ),
    (
        "Gradients from the first layer to the last",
        ("gradient_norm_ratio", "gradient_norm_ratio_sigmoid", "gradient_norm_ratio_batch_norm"),
    ),
    (
        "Energy and utilisation",
        ("energy_joules_per_image", "train_energy_joules_per_image", "achieved_flops_per_s", "inference_mfu", "mfu"),
    ),
)

# In table.csv only: the numbers of another column once more, and what training curves show better.
_RESTATED = ("flops", "macs_fvcore", "train_loss")


def by_topic(metrics: Sequence[Metric]) -> list[tuple[str, list[Metric]]]:
    """The metrics that tables show, under the titles of their topics; scores that no topic names come last."""
    known = {metric.name: metric for metric in metrics}
    topics = [(title, [known[name] for name in names if name in known]) for title, names in TOPICS]
    named = {name for _, names in TOPICS for name in names}
    others = [m for m in metrics if m.name not in named and m.name not in _RESTATED and m.better is not None]
    return [(title, columns) for title, columns in [*topics, ("Other measurements", others)] if columns]


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
    rank: tuple[int, int] | None = None  # in the column, and of how many, the best first; equals share one
    aside: str = ""  # what belongs to this number alone, in smaller print: its batch size
    status: str = "ok"
    hint: str = ""  # the exact number and its notes, or the reason why there is none

    @property
    def symbols(self) -> str:
        return "".join(mark.symbol for mark in self.marks)

    @property
    def at_chance(self) -> bool:
        return CHANCE in self.marks

    @property
    def rank_text(self) -> str:
        """Such as "3rd of 19"; empty where it has no rank, or no other has one."""
        return f"{ordinal(self.rank[0])} of {self.rank[1]}" if self.rank and self.rank[1] > 1 else ""


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

    def of(self, models: Sequence[Model]) -> Table:
        """The rows of some networks."""
        return replace(self, rows=tuple(row for row in self.rows if row.model in models))


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
    names = dict.fromkeys((*_accuracies(results, models), *OVERVIEW))
    first = [metric for name in names for metric in shown if metric.name == name]
    # A run of a few probes needs no second table: everything is in the first.
    first = shown if len(shown) <= len(OVERVIEW) else first
    return TrackTables(
        track=track,
        conditions=(
            joined(track_conditions(models), usual and f"steps in {usual}", between=" · "),
            *(accuracy_conditions(results, group) for group in results.accuracy_groups() if group.track == track),
        ),
        overview=_table(results, "Overview", models, first, usual),
        topics=tuple(
            _without_empty_rows(_table(results, title, models, metrics, usual))
            for title, metrics in topics
            if not set(metrics) <= set(first)
        ),
    )


def _without_empty_rows(table: Table) -> Table:
    """The rows that have a number or a failure: why the others have none is said where it says what was skipped."""
    said = [row for row in table.rows if any(cell.status not in (NOT_RUN, "skipped") for cell in row.cells)]
    return replace(table, rows=tuple(said))


def _accuracies(results: Results, models: Sequence[Model]) -> Iterator[str]:
    """Those of ACCURACY_COLUMNS that a network has which has none of those before."""
    without = list(models)
    for name in ACCURACY_COLUMNS:
        still = [model for model in without if not results.cell(model, name).measured]
        if len(still) < len(without):
            yield name
        without = still


def _tried(results: Results, models: Sequence[Model], metric: Metric) -> bool:
    """Whether a table has something to say of it: a number or a failure, and not the budget or a peak once more."""
    if metric.name == "train_seconds" and all(_is_time_budget(results, model) for model in models):
        return False
    if restates_a_peak(results, models, metric):
        return False
    cells = [results.cell(model, metric.name) for model in models]
    if metric.name == "uncounted_share" and not any(cell.value > 0 for cell in cells):
        return False  # everything was counted: nothing to warn of
    return any(cell.status not in (NOT_RUN, "skipped") for cell in cells)


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
        columns=tuple(
            Column(
                metric.name,
                label_of(results, models, metric),
                joined(unit_beside(metric.unit), step_conditions(results, models, metric, usual), between=", "),
            )
            for metric in metrics
        ),
        rows=tuple(Row(model, tuple(cells[i] for cells in by_metric)) for i, model in enumerate(models)),
    )


def _cells(results: Results, models: Sequence[Model], metric: Metric) -> list[TextCell]:
    cells = [results.cell(model, metric.name) for model in models]
    texts = [text_cell(results, model, metric) for model in models]
    if all(PREDICTED in text.marks for text in texts if text.order is not None):  # then the heading says so
        texts = [replace(text, marks=tuple(mark for mark in text.marks if mark != PREDICTED)) for text in texts]
    if metric.better is None:
        return texts
    sign = 1 if metric.better == "lower" else -1
    ordered = sorted(sign * cell.value for cell in cells if cell.competes)
    told_apart = len({text.text for text in texts if text.order is not None}) > 1
    ranks = [(1 + ordered.index(sign * cell.value), len(ordered)) if cell.competes else None for cell in cells]
    return [
        replace(text, rank=rank, best=told_apart and rank is not None and rank[0] == 1)
        for text, rank in zip(texts, ranks, strict=True)
    ]


def text_cell(results: Results, model: Model, metric: Metric) -> TextCell:
    """One number as text, with all that belongs to it but its rank in a column."""
    cell = results.cell(model, metric.name)
    notes = dict.fromkeys(record.note for record in (*cell.records, *cell.lost) if record.note)
    if not cell.measured:
        text = "–" if cell.status in (NOT_RUN, "skipped") else cell.status
        return TextCell(text, status=cell.status, hint="; ".join(notes) or cell.status)
    return TextCell(
        cell.text,
        order=cell.value,
        interval=(cell.low, cell.high) if cell.has_interval else None,
        marks=marks_of(results, model, metric.name),
        aside=_own_batch(cell, metric),
        status=cell.status,
        hint="; ".join((f"{cell.value:.10g} {metric.unit}", *notes)),
    )


def _own_batch(cell: Cell, metric: Metric) -> str:
    """Such as "batch 64" where the heading cannot say it for all."""
    own = probe_named(metric.probe).own_batch or (cell.asked_batch_size is not None and metric.probe != DERIVED)
    return f"batch {cell.batch_size}" if own and cell.batch_size else ""


def dataset_words(group: AccuracyGroup) -> str:
    """The data set as recorded, with a warning where it is not photographs."""
    return f"{group.dataset} (generated images)" if group.synthetic else group.dataset


def budget_words(budget: str) -> str:
    """ "1 epoch" or "12 s of training"; for a budget that is none, its own word."""
    return Budget.parse(budget).in_words if Budget.kind_of(budget) else f"a budget of {budget or 'unknown size'}"


def accuracy_conditions(results: Results, group: AccuracyGroup) -> str:
    """Such as "cifar10 · budget 20s · 3 seeds · AMD EPYC, 2 threads · 2026-01-31"."""
    counts = sorted({len(results.cell(model, "top1").records) for model in group.models})
    seeds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return " · ".join(
        (
            dataset_words(group),
            f"budget {group.budget or 'unknown'}",
            f"{seeds} seed{'' if counts[-1] == 1 else 's'}",
            results.device,
            results.header.date,
        )
    )


def chart_conditions(results: Results, group: AccuracyGroup) -> str:
    """The same with the track in front, for a figure that may be seen on its own."""
    return f"{group.track} track · {accuracy_conditions(results, group)}"


def step_conditions(results: Results, models: Sequence[Model], metric: Metric, usual: str = "") -> str:
    """As "batch 256, bf16, channels_last": how the steps ran that a metric was taken from; empty for other metrics.

    Where memory did not suffice for the batch size that all were to use, that one is named: the exceptions are marked.
    A manner that is the `usual` one is not repeated.
    """
    rows = _step_rows(results, models, metric)
    sizes = sorted(
        {row.asked_batch_size or row.batch_size or 0 for row in rows if not probe_named(row.probe).own_batch}
    )
    batch = f"batch {' or '.join(map(str, sizes))}" if sizes else ""
    manner = execution_words(row.conditions.execution for row in rows)
    return joined(batch, manner if manner != usual else "", between=", ")


def label_of(results: Results, models: Sequence[Model], metric: Metric) -> str:
    """The label of a metric, which says where all of its numbers are predicted, "Predicted peak memory", and after how
    much training another run's accuracy is: "Reference accuracy after 1 epoch"."""
    cells = [cell for model in models if (cell := results.cell(model, metric.name)).measured]
    predicted = cells and not metric.predicts and all(cell.predicted for cell in cells)
    if predicted:
        return f"Predicted {in_sentence(metric)}"
    budgets = {row.budget for cell in cells for row in cell.records} if metric.probe == DERIVED else set()
    return " after ".join((metric.label, *(budget_words(budget) for budget in budgets if budget)))


def usual_execution(results: Results, models: Sequence[Model], metrics: Sequence[Metric]) -> str:
    """Such as "bf16, channels_last": how the steps ran that most of the metrics were taken from; empty if none was."""
    manners = [
        execution_words(row.conditions.execution for row in _step_rows(results, models, metric)) for metric in metrics
    ]
    return max(manners, key=lambda manner: (manner != "", manners.count(manner)), default="")


def _step_rows(results: Results, models: Sequence[Model], metric: Metric) -> list[Record]:
    rows = [row for model in models for row in results.cell(model, metric.name).records if row.value is not None]
    return [row for row in rows if row.batch_size and not probe_named(row.probe).trains]


def measured_conditions(results: Results, models: Sequence[Model], *metrics: Metric) -> str:
    """Such as "cifar track · 3 × 32 × 32 input · 10 classes · batch 512, bf16 · NVIDIA H200 · 2026-01-31".

    Device and date are left out where nothing depends on them.
    """
    steps = dict.fromkeys(step_conditions(results, models, metric) for metric in metrics)
    ran = joined(*steps)
    where = (ran, results.device, results.header.date) if ran else ()
    return " · ".join((track_conditions(models), *where))


def track_conditions(models: Sequence[Model]) -> str:
    """Such as "cifar track · 3 × 32 × 32 input · 10 classes"; several sizes are joined by "or"."""
    sizes = dict.fromkeys(" × ".join(map(str, model.input_size)) for model in models if model.input_size)
    classes = dict.fromkeys(str(model.num_classes) for model in models if model.num_classes)
    words = [f"{models[0].track} track"]
    if sizes:
        words.append(f"{' or '.join(sizes)} input")
    if classes:
        words.append(f"{' or '.join(classes)} classes")
    return " · ".join(words)


def summary(run: Run) -> str:
    """The overview of each track: networks and headline scores with their units; every mark is explained."""
    parts = []
    for track in track_tables(read_results(run)):
        more = ", ".join(topic.title.lower() for topic in track.topics)
        said = [f"The report has more: {more}."] if more else []
        parts.append("\n".join((f"{track.track}: {'; '.join(track.conditions)}", as_text(track.overview), *said)))
    return "\n\n".join(parts)


def table_of(results: Results, models: Sequence[Model], metrics: Sequence[Metric]) -> Table:
    """Some metrics of some networks, in the order given."""
    return _table(results, "", models, metrics, usual="")


def as_text(table: Table, name_of: Callable[[Model], str] = lambda model: model.name) -> str:
    """A table for a terminal; every mark is explained."""
    rows = [
        {
            "network": name_of(row.model),
            **{heading: _text(cell) for heading, cell in zip(_headings(table), row.cells, strict=True)},
        }
        for row in table.rows
    ]
    legend = ["* best of its column"] if any(cell.best for row in table.rows for cell in row.cells) else []
    return "\n".join((aligned(rows), *legend, *(f"{mark.symbol} {mark.meaning}" for mark in table.legend)))


def _headings(table: Table) -> list[str]:
    """With the unit below, folded to the width of the numbers, so that nine columns fit on a screen."""
    widths = [max(len(_text(row.cells[i])) for row in table.rows) for i in range(len(table.columns))]
    return [
        "\n".join(
            line
            for lines in (textwrap.wrap(column.heading, width, break_long_words=False), column.detail.split(", "))
            for line in lines
            if line
        )
        for column, width in zip(table.columns, widths, strict=True)
    ]


def _text(cell: TextCell) -> str:
    return f"{cell.text}{'*' if cell.best else ''}{cell.symbols}" + (f" ({cell.aside})" if cell.aside else "")


def aligned(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as columns of text under their headings, of one or more lines: numbers to the right, words to the left."""
    table = rich.table.Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for column in rows[0]:
        texts = {str(row[column]) for row in rows} - {"failed", "timeout", "oom"}  # which stand among numbers
        numeric = bool(texts) and all(text[:1] in "0123456789–" for text in texts)
        table.add_column(Text(column), justify="right" if numeric else "left", vertical="bottom", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(str(text)) for text in row.values()))
    console = Console(file=io.StringIO(), width=10_000, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))
