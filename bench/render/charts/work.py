"""Time of an image against its MACs: how much of the time arithmetic explains, and for which network it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.metrics import METRICS
from bench.quantity import axis_label
from bench.render.charts.comparable import comparable, without_room
from bench.render.charts.figure import Chart, add_axes, new_figure, save_png, save_svg, write_title
from bench.render.charts.legends import draw_family_legend
from bench.render.charts.palette import MUTED, FamilyStyle
from bench.render.charts.points import draw_points, name_points, set_log_axis, span
from bench.render.findings.efficiency import Work, ms_per_image, work_and_time
from bench.render.results.header import Model
from bench.render.results.table import Results
from bench.render.tables.subtitles import measured_conditions

_WIDTH, _HEIGHT = 720.0, 470.0
_AXES = (58.0, 46.0, 508.0, 366.0)
_LEGEND_X = 580.0


def work_chart(results: Results, models: Sequence[Model], styles: Mapping[str, FamilyStyle], stem: str) -> Chart | None:
    """A point per network on logarithmic axes, with the line of equal time per MAC; None with fewer than three."""
    macs, speed = METRICS["macs"], METRICS["inference_images_per_s"]
    counted = [model for model in models if results.cell(model, macs.name).value > 0]
    shown, missing = comparable(results, counted, speed.name)
    found = work_and_time(results, shown)
    if found is None:
        return None
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = add_axes(figure, *_AXES)
    title = "Time per image against MACs"
    write_title(figure, title, measured_conditions(results, shown, speed))
    axes.set_xlabel(axis_label(macs), loc="left")
    axes.set_ylabel("Inference (ms per image)", loc="top")
    spans = [(span(results.cell(model, macs.name)), ms_per_image(results, model)) for model in shown]
    values = np.array(spans)
    set_log_axis(axes, "x", values[:, 0].ravel(), macs.unit)
    set_log_axis(axes, "y", values[:, 1].ravel(), "ms")
    ends = np.array(axes.get_xlim())
    axes.plot(ends, ends * found.ms_per_mac, color=MUTED, linewidth=1.1, linestyle="--", zorder=1.4)
    draw_points(axes, shown, spans, styles)
    unlabelled = name_points(figure, axes, shown, spans, [])
    draw_family_legend(figure, shown, styles, (_LEGEND_X, _HEIGHT - 58))
    return Chart(
        name=f"{stem}-time-vs-macs",
        kind="work",
        track=models[0].track,
        title=title,
        alt=f"Scatter chart of the time of an image against its MACs for {len(shown)} networks. {_words(found)}",
        caption=f"{_words(found)} Dashed: the median time per MAC. {missing} {without_room(unlabelled)}".strip(),
        svg=save_svg(figure),
        png=save_png(figure),
    )


def _words(found: Work) -> str:
    return " ".join((found.correlation_sentence, found.outlier_sentence)).strip()
