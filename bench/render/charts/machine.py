"""What the machine makes of a network: time against MACs, the roofline, and memory as it was predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from bench.metrics import METRICS
from bench.quantity import axis_label, quantity, tick
from bench.render.charts.frame import (
    INK,
    MUTED,
    SMALL,
    Chart,
    comparable,
    finished,
    printable,
    slug,
    styles_of,
)
from bench.render.charts.points import Box, Panel, Point, exact, point_figure, set_log_axis, span
from bench.render.findings.machine import Peaks, ms_per_image, peaks_of, work_and_time
from bench.render.results.header import Model
from bench.render.results.table import Results
from bench.render.tables.subtitles import measured_conditions

CLOSE = 0.05  # a measured peak this near to its prediction is as predicted


def work_chart(results: Results, models: Sequence[Model]) -> Chart | None:
    """Time of an image against its MACs, with the line of equal time per MAC; None with fewer than three networks."""
    macs, speed = METRICS["macs"], METRICS["inference_images_per_s"]
    counted = [model for model in models if results.cell(model, macs.name).value > 0]
    shown, missing = comparable(results, counted, speed.name)
    found = work_and_time(results, shown)
    if found is None:
        return None
    points = [Point(model, span(results.cell(model, macs.name)), ms_per_image(results, model)) for model in shown]

    def prepare(axes: Axes) -> Sequence[Box]:
        set_log_axis(axes, "x", np.array([point.x for point in points]), macs.unit)
        set_log_axis(axes, "y", np.array([point.y for point in points]), "ms")
        ends = np.array(axes.get_xlim())
        axes.plot(ends, ends * found.ms_per_mac, color=MUTED, linewidth=1.1, linestyle="--", zorder=1.4)
        return []

    said = f"{found.correlation_sentence} {found.outlier_sentence}".strip()
    panel = Panel(points, axis_label(macs), "Inference (ms per image)", prepare)
    figure, unnamed = point_figure([panel], styles_of(results))
    return finished(
        figure,
        name=f"{slug(models[0].track)}-time-vs-macs",
        kind="work",
        track=models[0].track,
        title="Time per image against MACs",
        conditions=measured_conditions(results, shown, speed),
        alt=f"Scatter chart of the time of an image against its MACs for {len(shown)} networks. {said}",
        caption=f"{said} Dashed: the median time per MAC. {missing} {unnamed}",
    )


def roofline_chart(results: Results, models: Sequence[Model]) -> Chart | None:
    """What each network achieves, under what the device allows at most (Williams, Waterman, Patterson 2009).

    None without the device's peaks or with fewer than two networks.
    """
    intensity, achieved = METRICS["arithmetic_intensity"], METRICS["achieved_flops_per_s"]
    counted = [model for model in models if results.cell(model, intensity.name).value > 0]
    shown, missing = comparable(results, counted, achieved.name)
    peaks = peaks_of(results, shown)
    if peaks is None or len(shown) < 2:
        return None
    points = [Point(m, span(results.cell(m, intensity.name)), span(results.cell(m, achieved.name))) for m in shown]

    def prepare(axes: Axes) -> Sequence[Box]:
        highest = max(peaks.flops_per_s, peaks.vendor_flops_per_s or 0)
        set_log_axis(axes, "x", np.array([*(x for p in points for x in p.x), peaks.ridge]), intensity.unit)
        set_log_axis(axes, "y", np.array([*(y for p in points for y in p.y), highest]), achieved.unit)
        return _draw_roof(axes, peaks)

    below = [point for point in points if point.x[1] < peaks.ridge]
    said = (
        f"{len(below)} of {len(shown)} networks are left of the ridge at {peaks.ridge:.3g} FLOP/byte, where memory "
        "and not arithmetic is the limit"
    )
    panel = Panel(points, axis_label(intensity), axis_label(achieved), prepare)
    figure, unnamed = point_figure([panel], styles_of(results))
    return finished(
        figure,
        name=f"{slug(models[0].track)}-roofline",
        kind="roofline",
        track=models[0].track,
        title="Roofline of inference",
        conditions=measured_conditions(results, shown, achieved),
        alt=f"Roofline: achieved FLOP/s against arithmetic intensity for {len(shown)} networks. {said}.",
        caption=f"{said}. Traffic is counted as if every operator read its inputs from memory and wrote its outputs "
        f"there; what caches or fused kernels save lifts a point above the slanted roof. {missing} {unnamed}",
    )


def _draw_roof(axes: Axes, peaks: Peaks) -> list[Box]:
    """The measured roof, the vendor's peak as a dashed line, and their names; returns the boxes of the names."""
    flops, traffic, vendor = peaks.flops_per_s, peaks.bytes_per_s, peaks.vendor_flops_per_s
    x = np.array([axes.get_xlim()[0], peaks.ridge, axes.get_xlim()[1]])
    axes.plot(x, np.minimum(x * traffic, flops), color=INK, linewidth=1.4, zorder=1.5)
    words = printable(
        f"measured on {peaks.device}: {quantity(flops, 'FLOP/s')}FLOP/s, {quantity(traffic, 'bytes/s')}B/s", 80
    )
    boxes = [_write_level(axes, flops, words, below=bool(vendor and vendor > flops))]
    if vendor:
        axes.axhline(vendor, color=MUTED, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1.4)
        words = f"vendor's dense peak: {quantity(vendor, 'FLOP/s')}FLOP/s"
        boxes.append(_write_level(axes, vendor, words, below=False))
    return boxes


def _write_level(axes: Axes, level: float, words: str, *, below: bool) -> Box:
    """Words at the right end of a level line; returns their box as fractions of the axes."""
    low, high = axes.get_ylim()
    place = float(np.log(level / low) / np.log(high / low))
    axes.annotate(
        words, (1, level), xycoords=("axes fraction", "data"), xytext=(-3, -3 if below else 3), size=SMALL,
        textcoords="offset points", ha="right", va="top" if below else "bottom", color=MUTED,
    )  # fmt: skip
    return (0.38, place - 0.05, 1.0, place + 0.006) if below else (0.38, place - 0.006, 1.0, place + 0.05)


def prediction_chart(results: Results, models: Sequence[Model]) -> Chart | None:
    """Measured over predicted bytes, a point per network; None with fewer than two networks that have both.

    A panel for inference and one for training.
    """
    found = {kind: _predictions(results, models, kind) for kind in ("inference", "training")}
    if max(map(len, found.values())) < 2:
        return None
    worst = max(abs(point.y[1] - 1) for points in found.values() for point in points)
    reach = max(1.15 * worst, 2 * CLOSE)

    def panel(kind: str, points: Sequence[Point]) -> Panel:
        def prepare(axes: Axes) -> Sequence[Box]:
            axes.set_ylim(max(0.0, 1 - reach), 1 + reach)
            set_log_axis(axes, "x", np.array([point.x[1] for point in points]), "bytes")
            axes.axhspan(1 - CLOSE, 1 + CLOSE, color=MUTED, alpha=0.13, linewidth=0)
            axes.axhline(1, color=INK, linewidth=1, linestyle="--", zorder=1.2)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            return []

        y_label = f"Measured ÷ predicted (band: ±{tick(CLOSE, 'fraction')})" if kind == "inference" else ""
        return Panel(points, "Predicted", y_label, prepare, f"Peak of {kind}", lambda point: not _is_close(point))

    said = "; ".join(
        f"{sum(map(_is_close, points))} of {len(points)} networks in {kind}" for kind, points in found.items() if points
    )
    figure, unnamed = point_figure([panel(kind, points) for kind, points in found.items()], styles_of(results))
    return finished(
        figure,
        name=f"{slug(models[0].track)}-memory-prediction",
        kind="prediction",
        track=models[0].track,
        title="Measured against predicted memory",
        conditions=measured_conditions(results, models, *(METRICS[f"peak_{kind}_bytes"] for kind in found)),
        alt=f"Scatter chart of measured over predicted peak memory. Within ±{tick(CLOSE, 'fraction')}: {said}.",
        caption=f"Within ±{tick(CLOSE, 'fraction')} of the prediction: {said}. Only the others are named. {unnamed}",
    )


def _predictions(results: Results, models: Sequence[Model], kind: str) -> list[Point]:
    """Predicted bytes, and measured over predicted, of the networks that have both at the same batch size."""
    points = []
    for model in models:
        peak, predicted = results.cell(model, f"peak_{kind}_bytes"), results.cell(model, f"predicted_{kind}_bytes")
        comparable = peak.measured and not peak.predicted and peak.batch_size == predicted.batch_size
        if comparable and predicted.value > 0:
            points.append(Point(model, exact(predicted.value), exact(peak.value / predicted.value)))
    return points


def _is_close(point: Point) -> bool:
    return abs(point.y[1] - 1) <= CLOSE
