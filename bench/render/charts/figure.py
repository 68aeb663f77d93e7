"""One look for all figures, and a figure as the two files that a report keeps of it: SVG and PNG."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from matplotlib import font_manager, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

from bench.render.charts.palette import GRID, INK, MUTED, PAPER
from bench.render.results.header import Model

_FONT = "DejaVu Sans"  # comes with matplotlib, so that a figure looks the same everywhere
_PNG_DPI = 144

_LOOK: dict[str, Any] = {
    "font.family": [_FONT],
    "font.size": 8.5,
    "text.parse_math": False,  # a name with a dollar sign is a name
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "figure.dpi": 72,  # one pixel is one point: label placement can reckon in either
    "svg.fonttype": "path",
    "svg.hashsalt": "bench",  # with no date in the metadata, the same figure is the same bytes
}


@dataclass(frozen=True)
class Chart:
    """A finished figure."""

    name: str  # file stem under figures/
    kind: str  # what it is drawn by: "ball" (the hero), "scatter", "bars", "curves", "roofline", ...
    track: str
    title: str
    alt: str  # what the figure shows, for those who cannot see it
    caption: str  # what it leaves out; may be empty
    svg: str
    png: bytes


@contextmanager
def look() -> Iterator[None]:
    """The look above over matplotlib's defaults, whatever the reader's matplotlibrc says."""
    with style.context(["default", _LOOK]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in points, with a canvas that can measure text."""
    figure = Figure(figsize=(width / 72, height / 72))
    FigureCanvasAgg(figure)
    return figure


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in points from the lower left corner."""
    across, up = figure.get_size_inches() * 72
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def write_title(figure: Figure, title: str, conditions: str) -> None:
    """A title and, below it, up to two lines of conditions, at the top left of the figure."""
    across, up = figure.get_size_inches() * 72
    figure.text(12 / across, 1 - 10 / up, printable(title, 100), size=11.5, weight="bold", va="top")
    lines = textwrap.wrap(printable(conditions, 400), width=int(across / 4.75), max_lines=2, placeholder=" …")
    figure.text(12 / across, 1 - 27 / up, "\n".join(lines), size=8.5, color=MUTED, va="top", linespacing=1.3)


def save_svg(figure: Figure) -> str:
    """The figure as SVG text without date or version: equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue().decode()


def save_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()


def printable(text: str, longest: int = 40) -> str:
    """`text` on one line, cut to `longest` characters, with a box for each glyph that the font lacks."""
    line = " ".join(text.split())
    line = "".join(char if ord(char) in _glyphs() else "\N{WHITE SQUARE}" for char in line)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def slug(text: str) -> str:
    """`text` as a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "other"


def chart_name(model: Model) -> str:
    """A network's name within a figure of its track, where the ending `_cifar` or `_mnist` says nothing."""
    return printable(model.name.removesuffix(f"_{model.track}"))


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(FT2Font(font_manager.findfont(_FONT)).get_charmap())
