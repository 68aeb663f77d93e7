"""How long a single image takes: median, 95th and 99th percentile of every network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.lines import Line2D

from bench.metrics import METRICS
from bench.quantity import quantity
from bench.render.charts.comparable import comparable
from bench.render.charts.figure import Chart, save_png, save_svg
from bench.render.charts.palette import MUTED, FamilyStyle
from bench.render.charts.points import set_log_axis
from bench.render.charts.rows import row_figure, without_value, write_status
from bench.render.results.header import Model
from bench.render.results.table import Results
from bench.render.tables.subtitles import measured_conditions

_PERCENTILES = {"latency_ms": "median", "latency_p95_ms": "95th percentile", "latency_p99_ms": "99th percentile"}
_LOOKS: dict[str, dict[str, object]] = {
    "latency_ms": {"marker": "o", "markersize": 5.0},
    "latency_p95_ms": {"marker": "|", "markersize": 8.0, "markeredgewidth": 1.4},
    "latency_p99_ms": {"marker": "o", "markersize": 4.5, "markerfacecolor": "none"},
}


def latency_chart(
    results: Results, models: Sequence[Model], styles: Mapping[str, FamilyStyle], stem: str
) -> Chart | None:
    """A row per network, from its median to its 99th percentile; None with fewer than two networks."""
    metric = METRICS["latency_ms"]
    bad = without_value(results, models, metric.name)
    rows, missing = comparable(results, [model for model in models if model not in bad], metric.name)
    if len(rows) < 2:
        return None
    rows.sort(key=lambda model: results.cell(model, metric.name).value)
    legend = [
        Line2D([], [], linestyle="", color=MUTED, label=words, **_LOOKS[name])  # type: ignore[arg-type]
        for name, words in _PERCENTILES.items()
    ]
    figure, (axes,) = row_figure(
        [*rows, *bad], metric.label, measured_conditions(results, models, metric), legend=legend, right=56
    )
    drawn: list[float] = []
    for row, model in enumerate(rows):
        at = {name: results.cell(model, name).value for name in _PERCENTILES if results.cell(model, name).measured}
        colour = styles[model.family].colour
        axes.plot([min(at.values()), max(at.values())], [row, row], color=colour, linewidth=1.1)
        for name, value in at.items():
            axes.plot([value], [row], color=colour, **_LOOKS[name])  # type: ignore[arg-type]
        axes.annotate(
            f"{quantity(at['latency_ms'], 'ms')} ms", (1, row), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va="center", size=8,
        )  # fmt: skip
        drawn += at.values()
    for row, model in enumerate(bad, start=len(rows)):
        write_status(axes, row, results.cell(model, metric.name).status)
    set_log_axis(axes, "x", np.array(drawn), metric.unit)
    axes.set_xlabel("Latency (ms); the median in figures at the right", loc="left")
    best, last = (f"{m.name} ({quantity(results.cell(m, metric.name).value, 'ms')} ms)" for m in (rows[0], rows[-1]))
    return Chart(
        name=f"{stem}-latency",
        kind="latency",
        track=models[0].track,
        title=metric.label,
        alt=f"Dot plot of the latency of {len(rows)} networks, to the 99th percentile. Medians: {best} to {last}.",
        caption=missing,
        svg=save_svg(figure),
        png=save_png(figure),
    )
