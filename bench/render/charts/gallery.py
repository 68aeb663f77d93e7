"""Which figures a run gets: comparisons per data set, bars per track, curves where there are some."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.metrics import METRICS
from bench.render.charts.bars import bar_chart
from bench.render.charts.curves import Curve, curve_chart
from bench.render.charts.figure import Chart, look
from bench.render.charts.palette import FamilyStyle, family_styles
from bench.render.charts.scatter import scatter_chart
from bench.render.table import AccuracyGroup, Results

_COSTS = ("macs", "inference_images_per_s", "train_images_per_s", "saved_activation_bytes")
_RESTATED = (
    "flops",
    "macs_fvcore",
    "train_epochs",
)  # the picture of another metric, with other numbers at it


def draw_charts(results: Results, curves: Sequence[Curve]) -> list[Chart]:
    """All figures of a report, in reading order; those that have nothing to show are left out."""
    styles = family_styles(model.family for model in results.models)
    groups = results.accuracy_groups()
    stems = _stems(groups)
    charts: list[Chart | None] = []
    with look():
        for group, stem in zip(groups, stems, strict=True):
            charts += [scatter_chart(results, group, METRICS[cost], styles, stem) for cost in _COSTS]
            charts += [curve_chart(results, group, curves, "train_loss", styles, stem)]
            charts += [curve_chart(results, group, curves, "test_top1", styles, stem)]
            charts += _accuracy_bars(results, group, styles, stem)
        for track, models in results.tracks().items():
            for metric in results.metrics():
                if metric.probe != "accuracy" and metric.name not in _RESTATED:
                    charts.append(bar_chart(results, models, metric, styles, _slug(track), None))
    return [chart for chart in charts if chart is not None]


def _accuracy_bars(
    results: Results, group: AccuracyGroup, styles: dict[str, FamilyStyle], stem: str
) -> list[Chart | None]:
    """Bars of what training measured; networks of the track that failed to train are shown as such."""
    failed = [
        model
        for model in results.tracks()[group.track]
        if not results.cell(model, "top1").measured and _was_to_train_on(results, model.name, group)
    ]
    return [
        bar_chart(results, [*group.models, *failed], metric, styles, stem, group)
        for metric in results.metrics()
        if metric.probe == "accuracy" and metric.name not in _RESTATED
    ]


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
        stem = _slug(group.track if alone else f"{group.track}-{group.dataset}-{group.budget}")
        stems.append(stem if stem not in stems else f"{stem}-{len(stems)}")
    return stems


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "other"
