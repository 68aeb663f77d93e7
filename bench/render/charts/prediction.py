"""Predicted against measured memory: how far off a prediction is, for inference and for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter

from bench.metrics import METRICS
from bench.quantity import tick
from bench.render.charts.comparable import without_room
from bench.render.charts.figure import Chart, add_axes, new_figure, save_png, save_svg, write_title
from bench.render.charts.legends import draw_family_legend
from bench.render.charts.palette import INK, MUTED, FamilyStyle
from bench.render.charts.points import Span, draw_points, name_points, set_log_axis
from bench.render.results.header import Model
from bench.render.results.table import Results
from bench.render.tables.subtitles import measured_conditions

CLOSE = 0.05  # a measured peak this near to its prediction is as foretold
_WIDTH, _HEIGHT = 720.0, 470.0
_LEFT, _BOTTOM, _PANEL, _GAP, _UP = 58.0, 46.0, 238.0, 32.0, 344.0
_LEGEND_X = 580.0


def prediction_chart(
    results: Results, models: Sequence[Model], styles: Mapping[str, FamilyStyle], stem: str
) -> Chart | None:
    """Measured over predicted bytes, a point per network; None with fewer than two networks that have both."""
    ratios = {kind: _ratios(results, models, kind) for kind in ("inference", "training")}
    if max(map(len, ratios.values())) < 2:
        return None
    figure = new_figure(_WIDTH, _HEIGHT)
    title = "Measured against predicted memory"
    peaks = [METRICS[f"peak_{kind}_bytes"] for kind in ratios]
    write_title(figure, title, measured_conditions(results, models, *peaks))
    worst = max(abs(ratio - 1) for points in ratios.values() for _, ratio in points.values())
    reach = max(1.15 * worst, 2 * CLOSE)
    unlabelled: list[str] = []
    for number, (kind, points) in enumerate(ratios.items()):
        axes = add_axes(figure, _LEFT + number * (_PANEL + _GAP), _BOTTOM, _PANEL, _UP)
        axes.set_title(f"Peak of {kind}", loc="left", size=8.5, weight="bold")
        if not points:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=MUTED)
            continue
        axes.set_ylim(max(0.0, 1 - reach), 1 + reach)
        set_log_axis(axes, "x", np.array([predicted for predicted, _ in points.values()]), "bytes")
        axes.axhspan(1 - CLOSE, 1 + CLOSE, color=MUTED, alpha=0.13, linewidth=0)
        axes.axhline(1, color=INK, linewidth=1, linestyle="--", zorder=1.2)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("Predicted", loc="left")
        if number == 0:
            axes.set_ylabel(f"Measured ÷ predicted (band: ±{tick(CLOSE, 'fraction')})", loc="top")
        spans = {model: (_exact(x), _exact(y)) for model, (x, y) in points.items()}
        draw_points(axes, list(spans), list(spans.values()), styles)
        far = [model for model in spans if abs(points[model][1] - 1) > CLOSE]
        if far:
            unlabelled += name_points(figure, axes, far, [spans[model] for model in far], [])
    shown = list(dict.fromkeys(model for points in ratios.values() for model in points))
    draw_family_legend(figure, shown, styles, (_LEGEND_X, _HEIGHT - 58))
    said = "; ".join(
        _counted(kind, [ratio for _, ratio in points.values()]) for kind, points in ratios.items() if points
    )
    return Chart(
        name=f"{stem}-memory-prediction",
        kind="prediction",
        track=models[0].track,
        title=title,
        alt=f"Scatter chart of measured over predicted peak memory. Within ±{tick(CLOSE, 'fraction')}: {said}.",
        caption=f"Within ±{tick(CLOSE, 'fraction')} of the prediction: {said}. "
        f"Named are those that are not. {without_room(unlabelled)}".strip(),
        svg=save_svg(figure),
        png=save_png(figure),
    )


def _ratios(results: Results, models: Sequence[Model], kind: str) -> dict[Model, tuple[float, float]]:
    """(predicted bytes, measured over predicted) of the networks that have both at the same batch size."""
    pairs = {}
    for model in models:
        peak, predicted = results.cell(model, f"peak_{kind}_bytes"), results.cell(model, f"predicted_{kind}_bytes")
        comparable = peak.measured and not peak.predicted and peak.batch_size == predicted.batch_size
        if comparable and predicted.value > 0:
            pairs[model] = predicted.value, peak.value / predicted.value
    return pairs


def _counted(kind: str, ratios: Sequence[float]) -> str:
    return f"{sum(abs(ratio - 1) <= CLOSE for ratio in ratios)} of {len(ratios)} networks in {kind}"


def _exact(value: float) -> Span:
    return value, value, value
