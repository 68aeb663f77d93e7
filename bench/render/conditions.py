"""The line under a title: data set, budget, device and date, without which a number says nothing."""

from __future__ import annotations

from collections.abc import Sequence

from bench.metrics import Metric
from bench.render.header import Model
from bench.render.table import AccuracyGroup, Results


def dataset_words(group: AccuracyGroup) -> str:
    """The data set as recorded, with a warning where it is not photographs."""
    return f"{group.dataset} (generated images)" if group.synthetic else group.dataset


def accuracy_conditions(results: Results, group: AccuracyGroup) -> str:
    """ "cifar10 · budget 20s · 3 seeds · AMD EPYC, 2 threads · 2026-01-31"."""
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


def throughput_conditions(results: Results, models: Sequence[Model], metric: Metric) -> str:
    """ "batch 256, fp32", or the range where a network needed another batch size."""
    rows = [row for model in models for row in results.cell(model, metric.name).records if row.value is not None]
    sizes = sorted({row.batch_size for row in rows if row.batch_size})
    batch = f"batch {' to '.join(str(size) for size in dict.fromkeys((sizes[0], sizes[-1])))}" if sizes else ""
    precision = "/".join(dict.fromkeys(row.precision for row in rows))
    return ", ".join(word for word in (batch, precision) if word)


def track_conditions(models: Sequence[Model]) -> str:
    """ "cifar track · 3 × 32 × 32 input · 10 classes"; several sizes are joined by "or"."""
    sizes = dict.fromkeys(" × ".join(map(str, model.input_size)) for model in models if model.input_size)
    classes = dict.fromkeys(str(model.num_classes) for model in models if model.num_classes)
    words = [f"{models[0].track} track"]
    if sizes:
        words.append(f"{' or '.join(sizes)} input")
    if classes:
        words.append(f"{' or '.join(classes)} classes")
    return " · ".join(words)
