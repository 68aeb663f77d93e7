"""One metric of the networks of a track as sorted horizontal bars, with values, intervals and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.metrics import Metric
from bench.render.charts.figure import (
    Chart,
    add_axes,
    chart_name,
    new_figure,
    save_png,
    save_svg,
    write_title,
)
from bench.render.charts.palette import INK, MUTED, FamilyStyle
from bench.render.conditions import chart_conditions, throughput_conditions, track_conditions
from bench.render.header import Model
from bench.render.quantity import axis_label, in_sentence, is_bytes, measured, tick
from bench.render.table import AccuracyGroup, Results

_WIDTH, _ROW = 720.0, 15.0
_TOP, _BOTTOM, _RIGHT = 62.0, 40.0, 96.0
_STATUS_WORDS = {"oom": "out of memory", "timeout": "timed out", "failed": "failed"}


def bar_chart(
    results: Results,
    models: Sequence[Model],
    metric: Metric,
    styles: Mapping[str, FamilyStyle],
    stem: str,
    group: AccuracyGroup | None,
) -> Chart | None:
    """Bars for one metric, best first; None where fewer than two networks have a value or all are equal.

    `group` names the data set and budget for what training measured; None for everything else.
    """
    good = [model for model in models if results.cell(model, metric.name).measured]
    if len(good) < 2 or len({results.cell(model, metric.name).value for model in good}) == 1:
        return None
    good.sort(key=lambda model: results.cell(model, metric.name).value, reverse=metric.better == "higher")
    bad = [m for m in models if m not in good and results.cell(m, metric.name).status in _STATUS_WORDS]
    conditions = _conditions(results, models, metric, group)
    rows = [*good, *bad]

    height = _TOP + _ROW * len(rows) + _BOTTOM
    figure = new_figure(_WIDTH, height)
    write_title(figure, metric.label, conditions)
    names = [chart_name(model) for model in rows]
    left = 16 + 5.2 * max(map(len, names))
    axes = add_axes(figure, left, _BOTTOM, _WIDTH - left - _RIGHT, _ROW * len(rows))
    _draw_bars(axes, results, good, metric, styles)
    for row, model in enumerate(bad, start=len(good)):
        words = _STATUS_WORDS[results.cell(model, metric.name).status]
        axes.annotate(words, (0, row), xytext=(4, 0), textcoords="offset points", va="center", color=MUTED, size=8)
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(axis_label(metric), loc="left")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
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
        caption="",
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
    axes.set_xlim(0, max(*ends, 0) * 1.02 or 1)
    for row, (model, cell, end) in enumerate(zip(models, cells, ends, strict=True)):
        if cell.has_interval:
            axes.plot([cell.low, cell.high], [row, row], color=INK, linewidth=0.9)
        axes.annotate(
            value_text(results, model.name, metric), (max(end, 0), row), va="center", size=8,
            xytext=(4, 0), textcoords="offset points",
        )  # fmt: skip
    if is_bytes(metric.unit):
        axes.xaxis.set_major_locator(_BinaryLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, metric.unit)))


class _BinaryLocator(MaxNLocator):
    """Ticks at round numbers of KiB, MiB or GiB."""

    def __init__(self) -> None:
        super().__init__(6)

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        unit = 1.0
        while vmax / unit >= 1024:
            unit *= 1024
        return [float(value) * unit for value in super().tick_values(vmin / unit, vmax / unit)]


def _conditions(results: Results, models: Sequence[Model], metric: Metric, group: AccuracyGroup | None) -> str:
    if group is not None:
        return chart_conditions(results, group)
    if metric.probe == "throughput":
        return " · ".join(
            (
                track_conditions(models),
                throughput_conditions(results, models, metric),
                results.header.device,
                results.header.date,
            )
        )
    return track_conditions(models)
