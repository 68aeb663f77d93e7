"""family -> colour and marker, one pair per family in every figure of a report.

The seven colours are at least 22 apart (CIE76) for normal, protan, deutan and tritan vision as simulated by
Machado et al. 2009, and all have a contrast of 2.8 or more on the light and on the dark page. The markers
alone tell the first 18 families apart, on a grey print too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from matplotlib.markers import MarkerStyle

INK = "#1b1f24"  # the page swaps these four for its own variables, which is what makes figures follow dark mode
MUTED = "#59636e"
GRID = "#dfe3e8"
PAPER = "#fefefe"

COLOURS = ("#2ca1e9", "#b90d67", "#8f9e15", "#a743a5", "#316f25", "#dc7671", "#c186b1")

Marker = str | tuple[int, int, int]  # matplotlib's: a letter, or (corners, 0 polygon | 1 star, angle)

# A prime to the number of colours, so that no pair returns before 126 families.
MARKERS: tuple[Marker, ...] = (
    "o",
    "s",
    "^",
    "D",
    "v",
    "P",
    "X",
    "*",
    "<",
    "p",
    ">",
    "d",
    "h",
    (4, 1, 0),
    (5, 0, 180),
    (3, 1, 0),
    (6, 1, 0),
    (3, 1, 180),
)


@dataclass(frozen=True)
class FamilyStyle:
    colour: str
    marker: Marker


def family_styles(families: Iterable[str]) -> dict[str, FamilyStyle]:
    """A style for each family, in the order of first appearance."""
    return {
        family: FamilyStyle(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
        for index, family in enumerate(dict.fromkeys(families))
    }


def marker_size(marker: Marker, area: float) -> float:
    """matplotlib's `s` for a marker of `area` square points: a star weighs as much as a square."""
    style = MarkerStyle(marker)
    x, y = np.asarray(style.get_path().transformed(style.get_transform()).to_polygons()[0]).T
    return area / (0.5 * abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))))
