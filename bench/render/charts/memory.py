"""What the memory of a training step holds at its peak: bytes of each part, and their shares."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.metrics import METRICS
from bench.quantity import quantity
from bench.render.charts.comparable import comparable
from bench.render.charts.figure import Chart, save_png, save_svg
from bench.render.charts.palette import COLOURS, INK, MUTED
from bench.render.charts.rows import row_figure, scale_from_zero
from bench.render.results.header import Model
from bench.render.results.table import Results
from bench.render.tables.subtitles import measured_conditions

PARTS = {
    "weight_bytes": "weights",
    "gradient_bytes": "gradients",
    "optimizer_bytes": "optimizer state",
    "activation_bytes": "saved activations",
    "workspace_bytes": "workspace",
}
_COLOURS = dict(zip(PARTS, (COLOURS[4], COLOURS[2], COLOURS[6], COLOURS[0], MUTED), strict=True))


def memory_chart(results: Results, models: Sequence[Model], stem: str) -> Chart | None:
    """Stacked bars, the smallest peak first; None with fewer than two networks whose parts are all known."""
    whole = [model for model in models if all(results.cell(model, part).measured for part in PARTS)]
    rows, missing = comparable(results, whole, "activation_bytes")
    if len(rows) < 2:
        return None
    rows.sort(key=lambda model: _sum(results, model))
    legend: list[Line2D | Patch] = [Patch(color=_COLOURS[part], label=words) for part, words in PARTS.items()]
    peaks = [results.cell(model, "peak_training_bytes") for model in rows]
    measured = any(peak.measured and not peak.predicted for peak in peaks)
    if measured:
        legend.append(Line2D([], [], linestyle="", marker="|", markersize=9, color=INK, label="measured peak"))
    title = "Memory of a training step, predicted"
    figure, (amount, share) = row_figure(
        rows,
        title,
        measured_conditions(results, rows, METRICS["activation_bytes"]),
        ("At its peak", "Shares of that"),
        legend,
        right=30,
    )
    _stack(amount, results, rows, [1.0] * len(rows))
    _stack(share, results, rows, [_sum(results, model) for model in rows])
    most = max(_sum(results, model) for model in rows)
    for row, (model, peak) in enumerate(zip(rows, peaks, strict=True)):
        end = _sum(results, model)
        if measured and peak.measured and not peak.predicted:
            amount.plot([peak.value], [row], "|", color=INK, markersize=9, markeredgewidth=1.4)
            end, most = max(end, peak.value), max(most, peak.value)
        amount.annotate(
            quantity(_sum(results, model), "bytes"), (end, row), va="center", size=8, xytext=(4, 0),
            textcoords="offset points",
        )  # fmt: skip
    scale_from_zero(amount, most * 1.06, "bytes")
    scale_from_zero(share, 0.99, "fraction")
    first, last = rows[0], rows[-1]
    return Chart(
        name=f"{stem}-memory",
        kind="memory",
        track=models[0].track,
        title=title,
        alt=(
            f"Stacked bars of {', '.join(PARTS.values())} at the peak of a training step for {len(rows)} networks, "
            f"from {first.name} ({quantity(_sum(results, first), 'bytes')}) to {last.name} "
            f"({quantity(_sum(results, last), 'bytes')})."
        ),
        caption=missing,
        svg=save_svg(figure),
        png=save_png(figure),
    )


def _sum(results: Results, model: Model) -> float:
    return sum(results.cell(model, part).value for part in PARTS)


def _stack(axes: Axes, results: Results, rows: Sequence[Model], divisors: Sequence[float]) -> None:
    left = [0.0] * len(rows)
    for part in PARTS:
        sizes = [results.cell(model, part).value / whole for model, whole in zip(rows, divisors, strict=True)]
        axes.barh(range(len(rows)), sizes, left=left, height=0.66, linewidth=0, color=_COLOURS[part])
        left = [start + size for start, size in zip(left, sizes, strict=True)]
