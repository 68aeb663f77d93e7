"""Which figures a run gets: what a reader chooses by, about twenty-five of them; the tables have every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.metrics import METRICS
from bench.render.budgets import budget_tables
from bench.render.charts.bars import bar_chart
from bench.render.charts.budgets import budget_chart
from bench.render.charts.curves import Curve, own_currency, training_curves
from bench.render.charts.density import density_chart
from bench.render.charts.early_late import early_late_chart
from bench.render.charts.figure import Chart, look, slug
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
from bench.render.depth import Layers
from bench.render.header import Model
from bench.render.table import AccuracyGroup, Results
from bench.render.textbook import as_published

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


def draw_charts(
    results: Results,
    curves: Sequence[Curve],
    flows: Sequence[GradientFlow] = (),
    layers: Mapping[str, Layers] | None = None,
) -> list[Chart]:
    """All figures of a report, in reading order; those that have nothing to show are left out."""
    styles = family_styles(model.family for model in results.models)
    groups = results.accuracy_groups()
    charts: list[Chart | None] = []
    with look():
        for group, stem in zip(groups, _stems(groups), strict=True):
            charts += [scatter_chart(results, group, METRICS[cost], styles, stem) for cost in _costs(group)]
            charts += training_curves(results, group, curves, styles, stem, everything=len(group.models) >= _FEW)
            charts += [_accuracy_bars(results, group, styles, stem)]
            if len(group.models) >= _FEW:
                accuracy = own_accuracy(results, group)
                charts += [density_chart(results, group, styles, stem, accuracy)]
                charts += [year_chart(results, group, styles, stem, accuracy)]
        charts += textbook_charts(results, styles)
        for track, models in results.tracks().items():
            if len(models) >= _FEW:
                trained = any(group.track == track for group in groups)
                charts += _track_charts(results, models, styles, slug(track), trained=trained)
                charts += [early_late_chart(models, layers or {}, slug(track))]
        for table in budget_tables(results):
            charts.append(budget_chart(results, table, styles, slug(f"{table.track}-{table.dataset}")))
        charts += gradient_flow_charts(results, flows, styles)
    order = list(results.tracks())
    return sorted((chart for chart in charts if chart is not None), key=lambda chart: order.index(chart.track))


def _costs(group: AccuracyGroup) -> tuple[str, ...]:
    """What accuracy is drawn against: everything for a comparison, the MACs alone for a handful of networks.

    Under a budget of seconds, all have trained for as long.
    """
    if len(group.models) < _FEW:
        return _COSTS[:1]
    return tuple(cost for cost in _COSTS if cost != "train_seconds" or own_currency(group.budget) != "seconds")


def _track_charts(
    results: Results, models: Sequence[Model], styles: dict[str, FamilyStyle], stem: str, *, trained: bool
) -> list[Chart | None]:
    """What the networks of a track cost; where accuracies do not show it already, size and energy too."""
    charts = [
        work_chart(results, models, styles, stem),
        throughput_chart(results, models, styles, stem),
        latency_chart(results, models, styles, stem),
        roofline_chart(results, models, styles, stem),
        memory_chart(results, models, stem),
        prediction_chart(results, models, styles, stem),
    ]
    alone = ["energy_joules_per_image"] if not trained else []
    if not trained and as_published(results)[1] is None:  # whose figures show it
        alone.insert(0, "params")
    if charts[4] is None:  # the next best thing that is known of memory
        alone.append("saved_activation_bytes")
    if charts[0] is None and not trained:
        alone.append("macs")
    return charts + [bar_chart(results, models, METRICS[name], styles, stem) for name in alone]


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
