"""One metric of the networks of a track as sorted horizontal bars, with values, intervals and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from bench.metrics import Metric
from bench.quantity import axis_label, in_sentence, measured, tick
from bench.render.charts.comparable import comparable
from bench.render.charts.figure import Chart, save_png, save_svg
from bench.render.charts.palette import INK, MUTED, FamilyStyle
from bench.render.charts.rows import row_figure, scale_from_zero, without_value, write_status
from bench.render.results.header import Model
from bench.render.results.table import AccuracyGroup, Results
from bench.render.tables.subtitles import chart_conditions, measured_conditions


def bar_chart(
    results: Results,
    models: Sequence[Model],
    metric: Metric,
    styles: Mapping[str, FamilyStyle],
    stem: str,
    group: AccuracyGroup | None = None,
    conditions: str = "",
) -> Chart | None:
    """Bars for one metric, best first; None where fewer than two networks have a value or all are equal.

    `group` names the data set and budget for what training measured; None for everything else. `conditions` stand
    under the title in place of those of the measurement.
    """
    bad = without_value(results, models, metric.name)
    good, missing = comparable(results, [model for model in models if model not in bad], metric.name)
    if len({results.cell(model, metric.name).value for model in good}) < 2:
        return None
    good.sort(key=lambda model: results.cell(model, metric.name).value, reverse=metric.better == "higher")
    conditions = conditions or (
        chart_conditions(results, group) if group else measured_conditions(results, models, metric)
    )

    figure, (axes,) = row_figure([*good, *bad], metric.label, conditions, right=96)
    _draw_bars(axes, results, good, metric, styles)
    for row, model in enumerate(bad, start=len(good)):
        write_status(axes, row, results.cell(model, metric.name).status)
    axes.set_xlabel(axis_label(metric), loc="left")
    if metric.name == "top1" and group is not None and group.chance is not None:
        axes.axvline(group.chance, color=INK, linewidth=1, linestyle="--")
        axes.annotate(
            f"chance {tick(group.chance, 'fraction')}", (group.chance, 1), xycoords=("data", "axes fraction"),
            xytext=(3, 2), textcoords="offset points", color=MUTED, size=8,
        )  # fmt: skip
    best, last = good[0].name, good[-1].name
    return Chart(
        name=f"{stem}-bars-{metric.name}",
        kind="bars",
        track=models[0].track,
        title=metric.label,
        alt=(
            f"Bar chart of {in_sentence(metric)} for {len(good)} networks, from {best} "
            f"({value_text(results, best, metric)}) to {last} ({value_text(results, last, metric)})."
        ),
        caption=missing,
        svg=save_svg(figure),
        png=save_png(figure),
    )


def value_text(results: Results, model: str, metric: Metric) -> str:
    cell = results.cell(model, metric.name)
    return measured(cell.value, cell.low, cell.high, metric.unit)


def _draw_bars(
    axes: Axes, results: Results, models: Sequence[Model], metric: Metric, styles: Mapping[str, FamilyStyle]
) -> None:
    cells = [results.cell(model, metric.name) for model in models]
    ends = [cell.high if cell.has_interval else cell.value for cell in cells]
    axes.barh(
        range(len(models)), [cell.value for cell in cells], height=0.66, alpha=0.8, linewidth=0,
        color=[styles[model.family].colour for model in models],
    )  # fmt: skip
    scale_from_zero(axes, max(ends), metric.unit)
    for row, (model, cell, end) in enumerate(zip(models, cells, ends, strict=True)):
        if cell.has_interval:
            axes.plot([cell.low, cell.high], [row, row], color=INK, linewidth=0.9)
        axes.annotate(
            value_text(results, model.name, metric), (max(end, 0), row), va="center", size=8,
            xytext=(4, 0), textcoords="offset points",
        )  # fmt: skip
