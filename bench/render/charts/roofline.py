"""The roofline (Williams, Waterman, Patterson 2009): what a network achieves, under what the device allows at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from bench.metrics import METRICS
from bench.quantity import axis_label, quantity
from bench.render.charts.comparable import comparable, without_room
from bench.render.charts.figure import Chart, add_axes, new_figure, printable, save_png, save_svg, write_title
from bench.render.charts.legends import draw_family_legend
from bench.render.charts.palette import INK, MUTED, FamilyStyle
from bench.render.charts.points import Box, draw_points, name_points, set_log_axis, span
from bench.render.findings.utilisation import Peaks, peaks_of
from bench.render.results.header import Model
from bench.render.results.table import Results
from bench.render.tables.subtitles import measured_conditions

_WIDTH, _HEIGHT = 720.0, 470.0
_AXES = (66.0, 46.0, 500.0, 366.0)
_LEGEND_X = 580.0


def roofline_chart(
    results: Results, models: Sequence[Model], styles: Mapping[str, FamilyStyle], stem: str
) -> Chart | None:
    """A point per network on logarithmic axes; None without limits or with fewer than two networks."""
    counted = [model for model in models if results.cell(model, "arithmetic_intensity").value > 0]
    shown, missing = comparable(results, counted, "achieved_flops_per_s")
    roof = peaks_of(results, shown)
    if roof is None or len(shown) < 2:
        return None
    intensity, achieved = METRICS["arithmetic_intensity"], METRICS["achieved_flops_per_s"]
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = add_axes(figure, *_AXES)
    title = "Roofline of inference"
    write_title(figure, title, measured_conditions(results, shown, achieved))
    axes.set_xlabel(axis_label(intensity), loc="left")
    axes.set_ylabel(axis_label(achieved), loc="top")
    spans = [(span(results.cell(m, intensity.name)), span(results.cell(m, achieved.name))) for m in shown]
    values = np.array(spans)
    peak = max(roof.flops_per_s, roof.vendor_flops_per_s or 0)
    set_log_axis(axes, "x", np.append(values[:, 0].ravel(), roof.ridge), intensity.unit)
    set_log_axis(axes, "y", np.append(values[:, 1].ravel(), peak), achieved.unit)
    reserved = _draw_roof(axes, roof)
    draw_points(axes, shown, spans, styles)
    unlabelled = name_points(figure, axes, shown, spans, reserved)
    draw_family_legend(figure, shown, styles, (_LEGEND_X, _HEIGHT - 58))
    below = [model for model in shown if results.cell(model, intensity.name).value < roof.ridge]
    said = (
        f"{len(below)} of {len(shown)} networks are left of the ridge at {roof.ridge:.3g} FLOP/byte, where memory "
        "and not arithmetic is the limit"
    )
    return Chart(
        name=f"{stem}-roofline",
        kind="roofline",
        track=models[0].track,
        title=title,
        alt=f"Roofline: achieved FLOP/s against arithmetic intensity for {len(shown)} networks. {said}.",
        caption=f"{said}. Traffic is counted as if every operator read its inputs from memory and wrote its outputs "
        f"there; what caches or fused kernels save lifts a point above the slanted roof. {missing} "
        f"{without_room(unlabelled)}".strip(),
        svg=save_svg(figure),
        png=save_png(figure),
    )


def _draw_roof(axes: Axes, roof: Peaks) -> list[Box]:
    """The measured roof, the vendor's peak as a dashed line, and their names; returns the boxes of the names."""
    flops, traffic, peak = roof.flops_per_s, roof.bytes_per_s, roof.vendor_flops_per_s
    x = np.array([axes.get_xlim()[0], roof.ridge, axes.get_xlim()[1]])
    axes.plot(x, np.minimum(x * traffic, flops), color=INK, linewidth=1.4, zorder=1.5)
    words = printable(
        f"measured on {roof.device}: {quantity(flops, 'FLOP/s')}FLOP/s, {quantity(traffic, 'bytes/s')}B/s", 80
    )
    boxes = [_write_level(axes, flops, words, below=bool(peak and peak > flops))]
    if peak:
        axes.axhline(peak, color=MUTED, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1.4)
        boxes.append(_write_level(axes, peak, f"vendor's dense peak: {quantity(peak, 'FLOP/s')}FLOP/s", below=False))
    return boxes


def _write_level(axes: Axes, level: float, words: str, *, below: bool) -> Box:
    """Words at the right end of a level line; returns their box as fractions of the axes."""
    low, high = axes.get_ylim()
    place = float(np.log(level / low) / np.log(high / low))
    axes.annotate(
        words, (1, level), xycoords=("axes fraction", "data"), xytext=(-3, -3 if below else 3), size=7.5,
        textcoords="offset points", ha="right", va="top" if below else "bottom", color=MUTED,
    )  # fmt: skip
    return (0.42, place - 0.045, 1.0, place + 0.006) if below else (0.42, place - 0.006, 1.0, place + 0.045)
