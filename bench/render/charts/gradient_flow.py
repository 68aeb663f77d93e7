"""Gradient norm by depth, a panel per variant: what reaches the first layers of plain and of residual networks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bench.render.charts.frame import SMALL, WIDTH, Chart, add_axes, chart_name, finished, new_figure
from bench.render.charts.palette import MUTED, FamilyStyle
from bench.render.results.curves import GradientFlow
from bench.render.results.header import Model
from bench.render.results.table import Results

_HEIGHT = 416.0
_LEFT, _BOTTOM, _PANEL, _TALL, _ACROSS, _UP = 44.0, 74.0, 149.0, 124.0, 10.0, 32.0  # panels and gaps, in points
_APART = 28.0  # more space before the panels with batch norm, which have an axis of their own
_SMALLEST = 1e-45  # above zero in fp32
_COLUMNS = (("sigmoid", False), ("tanh", False), ("relu", False), ("relu", True))
_ROWS = ("he", "small_normal")
_WORDS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "ReLU", "he": "He's weights", "small_normal": "std 0.01"}


def gradient_flow_charts(
    results: Results, flows: Sequence[GradientFlow], styles: Mapping[str, FamilyStyle]
) -> list[Chart]:
    """One chart for each depth: the plain network, the residual one, or both."""
    models = {model.name: model for model in results.models}
    by_depth: dict[str, list[tuple[Model, GradientFlow]]] = {}
    for flow in flows:
        if flow.model in models:
            depth = re.search(r"\d+", flow.model)
            by_depth.setdefault(depth[0] if depth else flow.model, []).append((models[flow.model], flow))
    return [_chart(results, depth, found, styles) for depth, found in sorted(by_depth.items(), key=lambda i: len(i[0]))]


def _chart(
    results: Results, depth: str, found: Sequence[tuple[Model, GradientFlow]], styles: Mapping[str, FamilyStyle]
) -> Chart:
    figure = new_figure(height=_HEIGHT)
    names = " and ".join(chart_name(model) for model, _ in found)
    title = f"Gradient that reaches each layer of {names}"
    limits = {norm: _limits([flow.rows[flow.rows.batch_norm == norm] for _, flow in found]) for norm in (False, True)}
    for row, initialisation in enumerate(_ROWS):
        for column, (activation, batch_norm) in enumerate(_COLUMNS):
            axes = add_axes(
                figure,
                _LEFT + column * (_PANEL + _ACROSS) + (_APART if batch_norm else 0.0),
                _BOTTOM + (1 - row) * (_TALL + _UP),
                _PANEL,
                _TALL,
            )
            bottom, top = limits[batch_norm]
            _set_axes(axes, bottom, top, labelled=column == 0 or batch_norm, last=row == len(_ROWS) - 1)
            norm = ", batch norm" if batch_norm else ""
            axes.set_title(f"{_WORDS[activation]}{norm}, {_WORDS[initialisation]}", size=SMALL, loc="left", pad=4)
            vanished = False
            for model, flow in found:
                for last in (False, True):
                    norms = flow.norms(activation, initialisation, batch_norm, last=last)
                    if (norms == 0).any():
                        vanished = True
                    axes.plot(
                        norms.index, norms.replace(0.0, 20 * bottom), color=styles[model.family].colour,
                        linewidth=1.1 if last else 1.7, linestyle=(0, (2, 1.5)) if last else "-",
                    )  # fmt: skip
            if vanished:
                axes.text(0.02, 0.02, "0 in fp32", transform=axes.transAxes, color=MUTED)
    _draw_legend(figure, found, styles)
    return finished(
        figure,
        name=f"gradient-flow-{depth}",
        kind="gradient_flow",
        track=found[0][0].track,
        title=title,
        conditions=_conditions(results, found),
        alt=f"{title}: norm by depth on a logarithmic axis, a panel for each of eight variants. {_ratios(found)}",
        caption=_ratios(found),
    )


def _conditions(results: Results, found: Sequence[tuple[Model, GradientFlow]]) -> str:
    rows = [row for model, _ in found for row in results.cell(model, "gradient_norm_ratio").records]
    batches = dict.fromkeys(f"batch {row.batch_size}" for row in rows if row.batch_size)
    notes = dict.fromkeys(row.note for row in rows if row.note)
    return " · ".join(
        ("norm of each convolution's weight gradient, by depth", *batches, "fp32", *notes, results.header.date)
    )


def _limits(rows: Sequence[pd.DataFrame]) -> tuple[float, float]:
    """The limits of the axis that panels share; norms that fp32 cannot hold lie on its lower edge."""
    norms = np.concatenate([part.gradient_norm.to_numpy(dtype=float) for part in rows])
    positive = norms[np.isfinite(norms) & (norms > 0)]
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1e-3, 1.0)
    return (_SMALLEST if (norms == 0).any() else low / 3), high * 3


def _set_axes(axes: Axes, bottom: float, top: float, *, labelled: bool, last: bool) -> None:
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    decades = max(1, round(np.log10(top / bottom) / 5))
    axes.yaxis.set_major_locator(LogLocator(base=10.0**decades, numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power_of_ten(value)))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(labelleft=labelled, labelbottom=last)


def _power_of_ten(value: float) -> str:
    """A power such as "10⁻⁶"."""
    return "10" + str(round(np.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _draw_legend(
    figure: Figure, found: Sequence[tuple[Model, GradientFlow]], styles: Mapping[str, FamilyStyle]
) -> None:
    handles = [Line2D([], [], color=styles[model.family].colour, linewidth=1.7) for model, _ in found]
    labels = [chart_name(model) for model, _ in found]
    steps = max(int(flow.rows.step.max()) for _, flow in found)
    handles += [
        Line2D([], [], color=MUTED, linewidth=1.7),
        Line2D([], [], color=MUTED, linewidth=1.1, linestyle=(0, (2, 1.5))),
    ]
    labels += ["at initialisation", f"after {steps} steps of SGD"]
    figure.legend(handles, labels, loc="lower left", bbox_to_anchor=(_LEFT / WIDTH, 0.02), ncols=4)
    figure.text(_LEFT / WIDTH, 46 / _HEIGHT, "Convolution, counted from the input")


def _ratios(found: Sequence[tuple[Model, GradientFlow]]) -> str:
    """A sentence on the first norm over the last at initialisation, where it says most."""
    sentences = []
    for words, variant in (
        ("sigmoid", ("sigmoid", "he", False)),
        ("ReLU", ("relu", "he", False)),
        ("ReLU and batch norm", ("relu", "he", True)),
    ):
        ratios = []
        for model, flow in found:
            norms = flow.norms(*variant, last=False)
            if len(norms) and norms.iloc[-1] > 0:
                ratios.append(f"{norms.iloc[0] / norms.iloc[-1]:.2g} in {chart_name(model)}")
        if ratios:
            sentences.append(f"with {words} {' and '.join(ratios)}")
    return (
        f"First layer's norm over the last's at initialisation with He's weights: {'; '.join(sentences)}. "
        "The panels with batch norm have an axis of their own."
        if sentences
        else ""
    )
