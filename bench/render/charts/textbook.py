"""The textbook's figures for networks that nobody trains here: published accuracy against what was counted here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bench.metrics import METRICS
from bench.quantity import quantity
from bench.render.charts.bars import bar_chart
from bench.render.charts.comparable import listing
from bench.render.charts.density import density_chart
from bench.render.charts.figure import Chart
from bench.render.charts.palette import FamilyStyle
from bench.render.charts.scatter import Accuracy, scatter_chart
from bench.render.charts.years import year_chart
from bench.render.results.published import TRACK, as_published, sources
from bench.render.results.table import AccuracyGroup, Results
from bench.render.tables.subtitles import track_conditions

PUBLISHED = replace(METRICS["top1"], label="Published top-1 accuracy")
_FEW = 3  # networks, fewer of which are no comparison


def textbook_charts(results: Results, styles: Mapping[str, FamilyStyle]) -> list[Chart | None]:
    """In the manner of Canziani et al. 2016: the ball chart, accuracy by network, by parameter and by year.

    Nothing where the run has fewer than three networks with a published accuracy, or accuracies of its own.
    """
    published, group = as_published(results)
    if group is None or len(group.models) < _FEW:
        return []
    conditions = f"{track_conditions(group.models)} · accuracies: {sources(group.models)} · all else counted here"
    accuracy = Accuracy(PUBLISHED, conditions, published=True)
    stem = f"{TRACK}-published"
    unknown = [model.name for model in results.tracks()[TRACK] if model not in group.models]
    caption = f"No published accuracy of the same source for {listing(unknown)}." if unknown else ""
    near, beyond = _within_an_axis(published, group)
    balls = scatter_chart(published, near, METRICS["macs"], styles, stem, accuracy)
    charts = (
        balls and replace(balls, caption=f"{balls.caption} {beyond}".strip()),
        bar_chart(published, group.models, PUBLISHED, styles, stem, conditions=conditions),
        density_chart(published, group, styles, stem, accuracy),
        year_chart(published, group, styles, stem, accuracy),
    )
    return [chart and replace(chart, caption=f"{chart.caption} {caption}".strip()) for chart in charts]


def _within_an_axis(results: Results, group: AccuracyGroup) -> tuple[AccuracyGroup, str]:
    """Without a network of more than twice the MACs of any other, which would push all into a corner; and its name."""
    ordered = sorted(group.models, key=lambda model: results.cell(model, "macs").value)
    first, last = (results.cell(model, "macs").value for model in ordered[-2:])
    if not last > 2 * first:
        return group, ""
    top1 = quantity(results.cell(ordered[-1], "top1").value, "fraction")
    near = tuple(model for model in group.models if model != ordered[-1])
    said = f"Beyond the right edge: {ordered[-1].name} with {quantity(last, 'count')} MACs and {top1}."
    return replace(group, models=near), said
