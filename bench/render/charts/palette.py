"""A colour and a marker for each family, the same in every figure of a report.

There are as many colours as families in the registry, so that colour alone tells them apart (17 in CIE76 or more); the
markers do so without colour. The first seven colours are for parts and verdicts too: they are 22 apart for normal,
protan, deutan and tritan vision as simulated by Machado et al. 2009. All have a contrast of 2.8 or more on the light
and on the dark page.
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

COLOURS = (
    "#c186b1",
    "#b90d67",
    "#8f9e15",
    "#a743a5",
    "#316f25",
    "#dc7671",
    "#2ca1e9",
    "#c81e00",
    "#645a82",
    "#46a08c",
    "#f01e64",
    "#8c6efa",
    "#966e5a",
    "#f00ac8",
    "#1e46fa",
    "#960adc",
    "#1e78c8",
)

Marker = str | tuple[int, int, int]  # matplotlib's: a letter, or (corners, 0 polygon | 1 star, angle)

# One more than colours, so that no pair returns before 306 families.
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
