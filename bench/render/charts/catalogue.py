"""Which figures a run gets: what a reader chooses by, about twenty-five of them; the tables have every metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from bench.metrics import METRICS
from bench.render.charts.bars import bar_chart
from bench.render.charts.budgets import budget_chart
from bench.render.charts.curves import Curve, own_currency, training_curves
from bench.render.charts.density import density_chart
from bench.render.charts.early_late import early_late_chart
from bench.render.charts.figure import Chart, slug
from bench.render.charts.gradient_flow import GradientFlow, gradient_flow_charts
from bench.render.charts.latency import latency_chart
from bench.render.charts.memory import memory_chart
from bench.render.charts.palette import FamilyStyle, family_styles
from bench.render.charts.prediction import prediction_chart
from bench.render.charts.roofline import roofline_chart
from bench.render.charts.scatter import own_accuracy, scatter_chart
from bench.render.charts.textbook import textbook_charts
from bench.render.charts.throughput import throughput_chart
from bench.render.charts.work import work_chart
from bench.render.charts.years import year_chart
from bench.render.findings.budgets import budget_tables
from bench.render.results.header import Model
from bench.render.results.layer_costs import Layers
from bench.render.results.published import as_published
from bench.render.results.table import AccuracyGroup, Results

_COSTS = (
    "macs",
    "inference_images_per_s",
    "latency_ms",
    "saved_activation_bytes",
    "peak_training_bytes",
    "energy_joules_per_image",
    "train_seconds",
)
_FEW = 3  # networks; fewer are compared faster in the table


@dataclass(frozen=True)
class Material:
    """What the figures of a report are drawn from."""

    results: Results
    curves: Sequence[Curve] = ()
    flows: Sequence[GradientFlow] = ()
    layers: Mapping[str, Layers] = field(default_factory=dict)


# Draws a figure, or some that belong together; None in place of one that has nothing to show.
Drawing = Callable[[], Chart | Sequence[Chart | None] | None]


def drawings(material: Material) -> list[Drawing]:
    """What there may be to draw; nothing is drawn yet.

    The same material gives the same list in every process, so that another one can draw a part of it.
    """
    results = material.results
    styles = family_styles(model.family for model in results.models)
    groups = results.accuracy_groups()
    found: list[Drawing] = []
    for group, stem in zip(groups, _stems(groups), strict=True):
        several = len(group.models) >= _FEW
        found += [partial(scatter_chart, results, group, METRICS[cost], styles, stem) for cost in _costs(group)]
        found += [partial(training_curves, results, group, material.curves, styles, stem, everything=several)]
        found += [partial(_accuracy_bars, results, group, styles, stem)]
        if several:
            accuracy = own_accuracy(results, group)
            found += [partial(density_chart, results, group, styles, stem, accuracy)]
            found += [partial(year_chart, results, group, styles, stem, accuracy)]
    found += [partial(textbook_charts, results, styles)]
    for track, models in results.tracks().items():
        if len(models) >= _FEW:
            trained = any(group.track == track for group in groups)
            found += _track_drawings(results, models, styles, slug(track), trained=trained)
            found += [partial(early_late_chart, models, material.layers, slug(track))]
    for table in budget_tables(results):
        found += [partial(budget_chart, results, table, styles, slug(f"{table.track}-{table.dataset}"))]
    found += [partial(gradient_flow_charts, results, material.flows, styles)]
    return found


def _costs(group: AccuracyGroup) -> tuple[str, ...]:
    """What accuracy is drawn against: everything for a comparison, the MACs alone for a handful of networks.

    Under a budget of seconds, all have trained for as long.
    """
    if len(group.models) < _FEW:
        return _COSTS[:1]
    return tuple(cost for cost in _COSTS if cost != "train_seconds" or own_currency(group.budget) != "seconds")


def _track_drawings(
    results: Results, models: Sequence[Model], styles: dict[str, FamilyStyle], stem: str, *, trained: bool
) -> list[Drawing]:
    """What the networks of a track cost; where accuracies do not show it already, size and energy too."""

    def bars(metric: str) -> Chart | None:
        return bar_chart(results, models, METRICS[metric], styles, stem)

    def work() -> Chart | None:
        return work_chart(results, models, styles, stem) or (None if trained else bars("macs"))

    def memory() -> Chart | None:
        return memory_chart(results, models, stem) or bars("saved_activation_bytes")  # the next best thing

    found: list[Drawing] = [
        work,
        partial(throughput_chart, results, models, styles, stem),
        partial(latency_chart, results, models, styles, stem),
        partial(roofline_chart, results, models, styles, stem),
        memory,
        partial(prediction_chart, results, models, styles, stem),
    ]
    if not trained:
        if as_published(results)[1] is None:  # whose figures show it
            found.append(partial(bars, "params"))
        found.append(partial(bars, "energy_joules_per_image"))
    return found


def _accuracy_bars(results: Results, group: AccuracyGroup, styles: dict[str, FamilyStyle], stem: str) -> Chart | None:
    """Bars of the accuracy; networks of the track that failed to train are shown as such."""
    failed = [
        model
        for model in results.tracks()[group.track]
        if not results.cell(model, "top1").measured and _was_to_train_on(results, model.name, group)
    ]
    return bar_chart(results, [*group.models, *failed], METRICS["top1"], styles, stem, group)


def _was_to_train_on(results: Results, model: str, group: AccuracyGroup) -> bool:
    rows = results.cell(model, "top1").records
    return any(
        (row.dataset or group.dataset, row.budget or group.budget) == (group.dataset, group.budget) for row in rows
    )


def _stems(groups: Sequence[AccuracyGroup]) -> list[str]:
    """File stems: the track alone where it has one group, else with data set and budget; all distinct."""
    stems: list[str] = []
    for group in groups:
        alone = sum(other.track == group.track for other in groups) == 1
        stem = slug(group.track if alone else f"{group.track}-{group.dataset}-{group.budget}")
        stems.append(stem if stem not in stems else f"{stem}-{len(stems)}")
    return stems
