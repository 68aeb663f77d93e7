"""Every figure of a report, drawn with matplotlib's objects: no pyplot and no global settings.

`draw_charts` says which figures a run gets: what a reader chooses by, about twenty-five of them; the tables have every
metric. A file for each kind of figure draws it and ends in `frame.finished`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.metrics import METRICS
from bench.records.run_folder import Run
from bench.regression import MARGIN
from bench.regression.history import DEFAULT_METRICS, history, runs_in
from bench.render.charts.accuracy import (
    FEW,
    Accuracies,
    accuracies,
    confusion_chart,
    density_chart,
    headline_charts,
    scatter_chart,
    sheet_chart,
    textbook_charts,
    year_chart,
)
from bench.render.charts.costs import bar_chart, early_late_chart, memory_chart, roofline_chart, work_chart
from bench.render.charts.frame import Chart, slug, style
from bench.render.charts.lines import gradient_flow_charts, history_chart, training_curves
from bench.render.results import AccuracyGroup, Results
from bench.render.results.kept import Curve, GradientFlow, Kept, Layers, own_currency
from bench.render.results.networks import Model
from bench.render.results.views import as_published, with_references

_COSTS = (
    "macs",
    "inference_images_per_s",
    "latency_ms",
    "saved_activation_bytes",
    "peak_training_bytes",
    "energy_joules_per_image",
    "train_seconds",
)
LEAST_RUNS = 4  # fewer are no history


@style()
def draw_charts(
    results: Results,
    curves: Sequence[Curve] = (),
    flows: Sequence[GradientFlow] = (),
    layers: Mapping[str, Layers] | None = None,
) -> list[Chart]:
    """All figures of a report, in reading order; those that have nothing to show are left out."""
    order = list(results.tracks())
    charts = [chart for chart in _charts(results, curves, flows, layers or {}) if chart is not None]
    return sorted(charts, key=lambda chart: order.index(chart.track))


def _charts(
    results: Results, curves: Sequence[Curve], flows: Sequence[GradientFlow], layers: Mapping[str, Layers]
) -> Iterator[Chart | None]:
    """Each figure that there may be; None in place of one that has nothing to show."""
    yield from headline_charts(results)
    groups = results.accuracy_groups()
    filled = with_references(results)
    if filled is not None and not any(
        group.track == filled[1].track and (len(group.models) >= FEW or _is_like(group, filled[1])) for group in groups
    ):  # where enough was trained here under another budget, the reference adds nothing but figures
        accuracy = accuracies(*filled, f"{slug(filled[1].track)}-reference")
        for cost in _costs(accuracy.group):
            yield scatter_chart(accuracy, METRICS[cost])
    for group, stem in zip(groups, _stems(groups), strict=True):
        several = len(group.models) >= FEW
        own = accuracies(results, group, stem)
        accuracy = accuracies(*filled, stem) if filled is not None and _is_like(group, filled[1]) else own
        for cost in _costs(accuracy.group):
            yield scatter_chart(accuracy, METRICS[cost])
        yield from training_curves(results, group, curves, stem, everything=several)
        yield _accuracy_bars(own)
        if several:
            yield density_chart(own)
            yield year_chart(accuracy)
    yield from textbook_charts(results)
    for track, models in results.tracks().items():
        if len(models) >= FEW:
            trained = any(group.track == track for group in groups)
            yield from _cost_charts(results, models, trained=trained)
            yield early_late_chart(models, layers)
    yield from gradient_flow_charts(results, flows)


def _is_like(group: AccuracyGroup, other: AccuracyGroup) -> bool:
    return (group.dataset, group.budget) == (other.dataset, other.budget)


def _costs(group: AccuracyGroup) -> tuple[str, ...]:
    """What accuracy is drawn against: everything for a comparison, the MACs alone for a handful of networks.

    Under a budget of seconds, all have trained for as long.
    """
    if len(group.models) < FEW:
        return _COSTS[:1]
    return tuple(cost for cost in _COSTS if cost != "train_seconds" or own_currency(group.budget) != "seconds")


def _cost_charts(results: Results, models: Sequence[Model], *, trained: bool) -> Iterator[Chart | None]:
    """What the networks of a track cost; where accuracies do not show it already, size and energy too."""

    def bars(metric: str) -> Chart | None:
        return bar_chart(results, models, METRICS[metric])

    yield work_chart(results, models) or (None if trained else bars("macs"))
    yield from map(bars, ("inference_images_per_s", "train_images_per_s", "latency_ms"))
    yield roofline_chart(results, models)
    yield memory_chart(results, models) or bars("saved_activation_bytes")  # the next best thing
    if not trained:
        if as_published(results) is None:  # whose figures show it
            yield bars("params")
        yield bars("energy_joules_per_image")


def _accuracy_bars(own: Accuracies) -> Chart | None:
    """Bars of the accuracy; networks of the track that failed to train are shown as such."""
    results, group = own.results, own.group
    failed = [
        model
        for model in results.tracks()[group.track]
        if not (cell := results.cell(model, "top1")).measured
        and any(row.dataset in (None, group.dataset) and row.budget in (None, group.budget) for row in cell.records)
    ]
    return bar_chart(results, [*group.models, *failed], METRICS["top1"], own.stem, own.conditions, group.chance)


def _stems(groups: Sequence[AccuracyGroup]) -> list[str]:
    """File stems: the track alone where it has one group, else with data set and budget; all distinct."""
    stems: list[str] = []
    for group in groups:
        alone = sum(other.track == group.track for other in groups) == 1
        stem = slug(group.track if alone else f"{group.track}-{group.dataset}-{group.budget}")
        stems.append(stem if stem not in stems else f"{stem}-{len(stems)}")
    return stems


def image_charts(results: Results, kept: Kept) -> list[Chart]:
    """For each data set its images and the confusion matrix."""
    charts: list[Chart | None] = []
    for data_set in kept.data_sets():
        stem = f"{slug(data_set.track)}-{slug(data_set.name)}"
        charts.append(sheet_chart(data_set, stem))
        trained = (g for g in results.accuracy_groups() if (g.track, g.dataset) == (data_set.track, data_set.name))
        group = next(trained, None)  # the largest: under one budget
        if group is None:
            continue
        best = max(group.models, key=lambda model: results.cell(model, "top1").value)
        found = kept.confusions(results.cell(best, "top1").records, len(data_set.classes))
        if found is not None:
            charts.append(confusion_chart(results, group, best, data_set.classes, found, stem))
    return [chart for chart in charts if chart is not None]


def history_charts(run: Run) -> list[Chart]:
    """A chart per metric over a run and the earlier runs of the same folder on the same device.

    Empty where there are too few to be a history.
    """
    runs, _ = runs_in(run.folder.parent, DEFAULT_METRICS)
    now = run.header
    of_device = [one for one in runs if one[0].header.device == now.device]
    earlier = [one for one in of_device if one[0].header.created <= now.created]
    if len(earlier) < LEAST_RUNS:
        return []
    own = {(record.model, record.metric) for record in run.records()}
    series = [one for one in history(earlier, DEFAULT_METRICS, MARGIN) if (one.model, one.metric) in own]
    # What never changes needs no chart.
    drawn = [one for one in series if len(one.points) >= LEAST_RUNS and len({p.value for p in one.points}) > 1]
    metrics = dict.fromkeys(one.metric for one in drawn)
    return [history_chart([one for one in drawn if one.metric == metric], now.device) for metric in metrics]
