"""The line under a title: data set, budget, device and date, without which a number means little."""

from __future__ import annotations

from collections.abc import Sequence

from bench.config import Budget, execution_words
from bench.metrics import Metric, probe_named
from bench.records.record import Record
from bench.render.results import AccuracyGroup, Results
from bench.render.results.header import Model


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
            results.header.device,
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
    batch = f"batch {' to '.join(str(size) for size in dict.fromkeys((sizes[0], sizes[-1])))}" if sizes else ""
    manner = execution_words(row.conditions.execution for row in rows)
    return ", ".join(word for word in (batch, manner if manner != usual else "") if word)


def label_of(results: Results, models: Sequence[Model], metric: Metric) -> str:
    """The label of a metric, which says so where all of its numbers are predicted: "Peak memory, predicted"."""
    cells = [cell for model in models if (cell := results.cell(model, metric.name)).measured]
    said = bool(metric.predicts)
    return (
        f"{metric.label}, predicted" if cells and not said and all(cell.predicted for cell in cells) else metric.label
    )


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
    ran = "; ".join(words for words in steps if words)
    where = (ran, results.header.device, results.header.date) if ran else ()
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
