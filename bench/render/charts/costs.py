"""What networks cost: bars of any metric, time and memory on the machine, and where in a network it arises."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.metrics import METRICS, Metric
from bench.quantity import axis_label, in_sentence, measured, quantity, tick, unit_beside
from bench.render.charts.frame import (
    COLOURS,
    INK,
    MUTED,
    SMALL,
    Chart,
    chart_name,
    comparable,
    finished,
    printable,
    ranked,
    row_figure,
    scale_from_zero,
    set_log_axis,
    slug,
    stack_bars,
    styles_of,
    write_beside,
    write_status,
)
from bench.render.charts.points import Box, Panel, Point, point_chart
from bench.render.findings.machine import ms_per_image, peaks_of, work_and_time
from bench.render.results import Results
from bench.render.results.derived import Limits
from bench.render.results.kept import THIRDS, Layers
from bench.render.results.networks import Model
from bench.render.tables import measured_conditions, track_conditions


def bar_chart(
    results: Results,
    models: Sequence[Model],
    metric: Metric,
    stem: str = "",
    conditions: str = "",
    chance: float | None = None,
) -> Chart | None:
    """Bars for one metric, best first; None where fewer than two networks have a value or all are equal.

    `conditions` stand under the title in place of those of the measurement; a line marks `chance`. The `stem` of its
    file's name is that of the track.
    """
    good, bad, missing = ranked(results, models, metric)
    cells = [results.cell(model, metric.name) for model in good]
    if len({cell.value for cell in cells}) < 2:
        return None
    ends = [cell.span[2] for cell in cells]
    words = [measured(cell.value, cell.low, cell.high, metric.unit) for cell in cells]

    figure, (axes,) = row_figure([*good, *bad], right=100)
    axes.barh(
        range(len(good)), [cell.value for cell in cells], height=0.66, alpha=0.8, linewidth=0,
        color=[styles_of(results)[model.family].colour for model in good],
    )  # fmt: skip
    scale_from_zero(axes, max(ends), metric.unit)
    for row, (cell, end) in enumerate(zip(cells, ends, strict=True)):
        if cell.has_interval:
            axes.plot([cell.low, cell.high], [row, row], color=INK, linewidth=0.9)
        write_beside(axes, row, max(end, 0), words[row])
    for row, model in enumerate(bad, start=len(good)):
        write_status(axes, row, results.cell(model, metric.name).status)
    axes.set_xlabel(axis_label(metric), loc="left")
    if chance is not None:
        axes.axvline(chance, color=INK, linewidth=1, linestyle="--")
        axes.annotate(
            f"chance {tick(chance, 'fraction')}", (chance, 1), xycoords=("data", "axes fraction"),
            xytext=(3, 2), textcoords="offset points", color=MUTED,
        )  # fmt: skip
    return finished(
        figure,
        name=f"{stem or slug(models[0].track)}-bars-{metric.name}",
        kind="bars",
        track=models[0].track,
        title=metric.label,
        conditions=conditions or measured_conditions(results, models, metric),
        alt=(
            f"Bar chart of {in_sentence(metric)} for {len(good)} networks, from {chart_name(good[0])} "
            f"({words[0]}) to {chart_name(good[-1])} ({f'{words[-1]} {unit_beside(metric.unit)}'.strip()})."
        ),
        caption=missing,
    )


# --- Time ---


def work_chart(results: Results, models: Sequence[Model]) -> Chart | None:
    """Time of an image against its MACs, with the line of equal time per MAC; None with fewer than three networks."""
    macs, speed = METRICS["macs"], METRICS["inference_images_per_s"]
    counted = [model for model in models if results.cell(model, macs.name).value > 0]
    shown, missing = comparable(results, counted, speed.name)
    found = work_and_time(results, shown)
    if found is None:
        return None
    points = [Point(model, results.cell(model, macs.name).span, ms_per_image(results, model)) for model in shown]

    def prepare(axes: Axes) -> Sequence[Box]:
        set_log_axis(axes, "x", np.array([point.x for point in points]), macs.unit)
        set_log_axis(axes, "y", np.array([point.y for point in points]), "ms")
        ends = np.array(axes.get_xlim())
        axes.plot(ends, ends * found.ms_per_mac, color=MUTED, linewidth=1.1, linestyle="--", zorder=1.4)
        return []

    said = f"{found.correlation_sentence} {found.outlier_sentence}".strip()
    panel = Panel(points, axis_label(macs), "Inference (ms per image)", prepare)
    return point_chart(
        results,
        panel,
        name=f"{slug(models[0].track)}-time-vs-macs",
        kind="work",
        track=models[0].track,
        title="Time per image against MACs",
        conditions=measured_conditions(results, shown, speed),
        alt=f"Scatter chart of the time of an image against its MACs for {len(shown)} networks. {said}",
        caption=f"{said} Dashed: the median time per MAC. {missing}",
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
    points = [Point(m, results.cell(m, intensity.name).span, results.cell(m, achieved.name).span) for m in shown]

    def prepare(axes: Axes) -> Sequence[Box]:
        highest = max(peaks.flops_per_s, peaks.vendor_flops_per_s)
        set_log_axis(axes, "x", np.array([*(x for p in points for x in p.x), peaks.ridge]), intensity.unit)
        set_log_axis(axes, "y", np.array([*(y for p in points for y in p.y), highest]), achieved.unit)
        return _draw_roof(axes, peaks)

    below = [point for point in points if point.x[1] < peaks.ridge]
    verb = "is" if len(below) == 1 else "are"
    said = (
        f"{len(below)} of {len(shown)} networks {verb} left of the ridge at {peaks.ridge:.3g} FLOP/byte, where memory "
        "and not arithmetic is the limit"
    )
    panel = Panel(points, axis_label(intensity), axis_label(achieved), prepare)
    return point_chart(
        results,
        panel,
        name=f"{slug(models[0].track)}-roofline",
        kind="roofline",
        track=models[0].track,
        title="Roofline of inference",
        conditions=measured_conditions(results, shown, achieved),
        alt=f"Roofline: achieved FLOP/s against arithmetic intensity for {len(shown)} networks. {said}.",
        caption=f"{said}. Traffic is counted as if every operator read its inputs from memory and wrote its outputs "
        f"there; what caches or fused kernels save lifts a point above the slanted roof. {missing}",
    )


def _draw_roof(axes: Axes, peaks: Limits) -> list[Box]:
    """The measured roof, the vendor's peak as a dashed line, and their names; returns the boxes of the names."""
    flops, traffic, vendor = peaks.flops_per_s, peaks.bytes_per_s, peaks.vendor_flops_per_s
    x = np.array([axes.get_xlim()[0], peaks.ridge, axes.get_xlim()[1]])
    axes.plot(x, np.minimum(x * traffic, flops), color=INK, linewidth=1.4, zorder=1.5)
    words = printable(
        f"measured on {peaks.device}: {quantity(flops, 'FLOP/s')}FLOP/s, {quantity(traffic, 'bytes/s')}B/s", 80
    )
    boxes = [_write_level(axes, flops, words, below=vendor > flops)]
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


# --- Memory, and where it is needed ---

MEMORY_PARTS = {
    "weight_bytes": "weights",
    "gradient_bytes": "gradients",
    "optimizer_bytes": "optimizer state",
    "activation_bytes": "saved activations",
    "workspace_bytes": "workspace",
}
_MEMORY_COLOURS = (COLOURS[4], COLOURS[2], COLOURS[0], COLOURS[6], MUTED)
_SHADES = ("#0f4c75", "#2ca1e9", "#b5def7")  # of one hue: from dark to light on a grey print too
_DEPTH_COLUMNS = {"params": "Parameters", "macs": "MACs", "saved_activation_bytes": "Saved activations"}


def memory_chart(results: Results, models: Sequence[Model]) -> Chart | None:
    """What the memory of a training step holds at its peak, the smallest first: bytes of each part, and their shares.

    None with fewer than two networks whose parts are all known.
    """
    whole = [model for model in models if all(results.cell(model, part).measured for part in MEMORY_PARTS)]
    rows, missing = comparable(results, whole, "activation_bytes")
    if len(rows) < 2:
        return None
    parts = {model: [results.cell(model, part).value for part in MEMORY_PARTS] for model in rows}
    rows.sort(key=lambda model: sum(parts[model]))
    sums = [sum(parts[model]) for model in rows]
    found = [results.cell(model, "peak_training_bytes") for model in rows]
    peaks = [peak if peak.measured and not peak.predicted else None for peak in found]
    legend: list[Line2D | Patch] = [
        Patch(color=colour, label=words) for colour, words in zip(_MEMORY_COLOURS, MEMORY_PARTS.values(), strict=True)
    ]
    if any(peaks):
        legend.append(Line2D([], [], linestyle="", marker="|", markersize=9, color=INK, label="measured peak"))
    figure, (amount, share) = row_figure(rows, ("At its peak", "Share of the peak"), legend, right=30)
    by_part = list(zip(*(parts[model] for model in rows), strict=True))
    stack_bars(amount, by_part, _MEMORY_COLOURS)
    shares = [[size / whole for size, whole in zip(sizes, sums, strict=True)] for sizes in by_part]
    stack_bars(share, shares, _MEMORY_COLOURS)
    ends = [max(total, peak.value if peak else 0.0) for total, peak in zip(sums, peaks, strict=True)]
    for row, peak in enumerate(peaks):
        if peak:
            amount.plot([peak.value], [row], "|", color=INK, markersize=9, markeredgewidth=1.4)
        write_beside(amount, row, ends[row], quantity(sums[row], "bytes"))
    scale_from_zero(amount, max(ends) * 1.06, "bytes")
    scale_from_zero(share, 0.99, "fraction")
    return finished(
        figure,
        name=f"{slug(models[0].track)}-memory",
        kind="memory",
        track=models[0].track,
        title="Predicted memory of a training step",
        conditions=measured_conditions(results, rows, METRICS["activation_bytes"]),
        alt=(
            f"Stacked bars of {', '.join(MEMORY_PARTS.values())} at the peak of a training step for {len(rows)} "
            f"networks, from {chart_name(rows[0])} ({quantity(sums[0], 'bytes')}) to {chart_name(rows[-1])} "
            f"({quantity(sums[-1], 'bytes')})."
        ),
        caption=missing,
    )


def early_late_chart(models: Sequence[Model], layers: Mapping[str, Layers]) -> Chart | None:
    """Where parameters, MACs and the bytes that training keeps sit: stacked bars of the thirds of a network's depth.

    None with fewer than two networks.
    """
    thirds = {
        model: [layers[model.name].thirds(column) for column in _DEPTH_COLUMNS]
        for model in models
        if model.name in layers
    }
    shown = [model for model, found in thirds.items() if None not in found]
    if len(shown) < 2:
        return None
    legend = [Patch(color=shade, label=words) for shade, words in zip(_SHADES, THIRDS, strict=True)]
    figure, panels = row_figure(shown, tuple(_DEPTH_COLUMNS.values()), legend)
    medians = []
    for number, (axes, words) in enumerate(zip(panels, _DEPTH_COLUMNS.values(), strict=True)):
        shares = [found for model in shown if (found := thirds[model][number]) is not None]
        stack_bars(axes, list(zip(*shares, strict=True)), _SHADES)
        scale_from_zero(axes, 0.99, "fraction")
        median = quantity(statistics.median(first for first, _, _ in shares), "fraction", 2)
        medians.append(f"{median} of the {words if words == 'MACs' else words.lower()}")
    said = f"In the median network, the first third of the layers has {', '.join(medians[:-1])} and {medians[-1]}."
    return finished(
        figure,
        name=f"{slug(models[0].track)}-early-late",
        kind="early_late",
        track=models[0].track,
        title="Where parameters, MACs and saved activations sit",
        conditions=f"{track_conditions(shown)} · thirds of the layers that multiply",
        alt=(
            f"Stacked bars of the shares of parameters, MACs and saved activations in each third of the depth of "
            f"{len(shown)} networks. {said}"
        ),
        caption=said,
    )
