"""What colour, marker and ball mean: the two legends beside a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle

from bench.quantity import tick
from bench.render.charts.figure import add_axes, printable
from bench.render.charts.palette import MUTED, FamilyStyle, marker_size
from bench.render.results.header import Model

MARKER_AREA = 36.0  # square points
FRONT_DASHES = (0, (5, 2))
_LARGEST_BALL = 44.0  # diameter in points


def ball_areas(params: np.ndarray) -> np.ndarray:
    """matplotlib's `s` (squared diameter in points) in proportion to the parameters; 0 where unknown."""
    known = np.nan_to_num(params, nan=0.0)
    return known / max(float(known.max()), 1.0) * _LARGEST_BALL**2


def draw_family_legend(
    figure: Figure,
    models: Sequence[Model],
    styles: Mapping[str, FamilyStyle],
    corner: tuple[float, float],
    *,
    front: bool = False,
) -> None:
    """Marker and colour of every family, and of the Pareto front if asked; below and right of a corner in points."""
    across, up = figure.get_size_inches() * 72
    handles = [
        Line2D(
            [], [], linestyle="", color=styles[family].colour, marker=MarkerStyle(styles[family].marker),
            markersize=math.sqrt(marker_size(styles[family].marker, MARKER_AREA)), markeredgewidth=0,
        )
        for family in dict.fromkeys(model.family for model in models)
    ]  # fmt: skip
    labels = [printable(family, 20) for family in dict.fromkeys(model.family for model in models)]
    if front:
        handles.append(Line2D([], [], color=MUTED, linewidth=1.2, linestyle=FRONT_DASHES))
        labels.append("Pareto front")
    figure.legend(
        handles, labels,
        loc="upper left", bbox_to_anchor=(corner[0] / across, corner[1] / up),
        borderaxespad=0, handletextpad=0.5, labelspacing=0.42, fontsize=8,
    )  # fmt: skip


def draw_ball_legend(figure: Figure, params: np.ndarray, corner: tuple[float, float]) -> None:
    """Nested balls above a corner given in points: a round number of parameters, a fifth and a fiftieth of it."""
    largest = float(np.nanmax(params)) if np.isfinite(params).any() else 0.0
    if largest <= 0:
        return
    top = 10 ** math.floor(math.log10(largest))
    top *= max(step for step in (1, 2, 3, 5) if step * top <= largest)
    legend = add_axes(figure, *corner, 134, 74)
    legend.set_axis_off()
    legend.set_xlim(0, 134)
    legend.set_ylim(0, 74)
    legend.text(0, 62, "Ball area: parameters", size=8, va="bottom")
    for count, height in zip((top, top / 5, top / 50), (42.0, 23.0, 4.0), strict=True):
        diameter = math.sqrt(count / largest) * _LARGEST_BALL
        legend.scatter([25], [2 + diameter / 2], s=diameter**2, facecolors="none", edgecolors=MUTED, linewidths=0.8)
        legend.plot([25, 54], [2 + diameter, height + 4], color=MUTED, linewidth=0.5)
        legend.text(57, height + 4, tick(count, "count"), size=8, va="center")
