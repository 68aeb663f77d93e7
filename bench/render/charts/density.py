"""Accuracy per parameter, which Canziani et al. 2016 call information density, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bench.metrics import DERIVED, Metric
from bench.render.charts.bars import bar_chart
from bench.render.charts.comparable import listing
from bench.render.charts.figure import Chart
from bench.render.charts.palette import FamilyStyle
from bench.render.charts.scatter import Accuracy
from bench.render.results.header import Model
from bench.render.results.table import AccuracyGroup, Cell, Results

_DENSITY = Metric(
    "density", DERIVED, "percentage points per million parameters", "Accuracy per parameter", "higher", ""
)


def density_chart(
    results: Results, group: AccuracyGroup, styles: Mapping[str, FamilyStyle], stem: str, accuracy: Accuracy
) -> Chart | None:
    """Bars, the densest first, of the networks that cannot be taken for guessing; None with fewer than two.

    A network without use has a high density too, if it only is small: chance divided by next to nothing.
    """
    shown = [m for m in group.models if results.cell(m, "params").value > 0 and not results.at_chance(m)]
    guessing = [model.name for model in group.models if results.at_chance(model)]
    metric = replace(_DENSITY, label=f"{accuracy.metric.label} per parameter")
    cells = {(model.name, metric.name): _density(results, model) for model in shown}
    dense = replace(results, cells={**results.cells, **cells})
    chart = bar_chart(dense, shown, metric, styles, stem, conditions=accuracy.conditions)
    if chart is None:
        return None
    alone = f"Omitted because they did no better than chance: {listing(guessing)}."
    return replace(chart, kind="density", caption=alone if guessing else "")


def _density(results: Results, model: Model) -> Cell:
    cell = results.cell(model, "top1")
    per = 1e8 / results.cell(model, "params").value
    return replace(cell, value=cell.value * per, low=cell.low * per, high=cell.high * per)
