"""The frame of every figure: colours, style, size, title and scales; names beside rows and lines; SVG and PNG.

A family has one colour and one marker in every figure of a report. There are as many colours as families in the
registry, so that colour alone tells them apart (17 in CIE76 or more); the markers do so without colour. The first seven
colours are for parts and verdicts too: they are 22 apart for normal, protan, deutan and tritan vision as simulated by
Machado et al. 2009. All have a contrast of 2.8 or more on the light and on the dark page.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import matplotlib.style
import numpy as np
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from bench.metrics import METRICS, Metric
from bench.quantity import in_sentence, is_bytes, listing, tick
from bench.render.results import Results
from bench.render.results.networks import Model, written_name

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

Array = NDArray[np.float64]
Marker = str | tuple[int, int, int]  # matplotlib's: a letter, or (corners, 0 polygon | 1 star, angle)

# With Plotly's symbol and its angle in degrees. One more than colours, so that no pair returns before 306 families.
MARKERS: Mapping[Marker, tuple[str, int]] = {
    "o": ("circle", 0),
    "s": ("square", 0),
    "^": ("triangle-up", 0),
    "D": ("diamond", 0),
    "v": ("triangle-down", 0),
    "P": ("cross", 0),
    "X": ("x", 0),
    "*": ("star", 0),
    "<": ("triangle-left", 0),
    "p": ("pentagon", 0),
    ">": ("triangle-right", 0),
    "d": ("diamond-tall", 0),
    "h": ("hexagon2", 0),
    (4, 1, 0): ("star-diamond", 0),
    (5, 0, 180): ("pentagon", 180),
    (3, 1, 0): ("star-triangle-up", 0),
    (6, 1, 0): ("hexagram", 0),
    (3, 1, 180): ("star-triangle-down", 0),
}


@dataclass(frozen=True)
class FamilyStyle:
    colour: str
    marker: Marker


def family_styles(families: Iterable[str]) -> dict[str, FamilyStyle]:
    """A style for each family, in the order of first appearance."""
    looks = zip(itertools.cycle(COLOURS), itertools.cycle(MARKERS))
    return {family: FamilyStyle(*look) for family, look in zip(dict.fromkeys(families), looks, strict=False)}


def styles_of(results: Results) -> dict[str, FamilyStyle]:
    """The styles of a run's families, the same in each of its figures."""
    return family_styles(model.family for model in results.models)


def outline(marker: Marker) -> Array:
    """The corners of a marker, (n, 2)."""
    style = MarkerStyle(marker)
    return np.asarray(style.get_path().transformed(style.get_transform()).to_polygons()[0])


def marker_size(marker: Marker, area: float) -> float:
    """matplotlib's `s` for a marker of `area` square points: a star weighs as much as a square."""
    x, y = outline(marker).T
    return area / (0.5 * abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))))


_FONT = "DejaVu Sans"  # comes with matplotlib, so that a figure looks the same everywhere
# Of the same widths first: where there is neither, narrower letters still keep their place.
FONTS = f"'{_FONT}', Verdana, 'Bitstream Vera Sans', sans-serif"
_PNG_DPI = 144
MOST_NAMED = 8  # longer lists end with a count
SMALL = 8.5  # points; 11 on a slide, which a figure of 720 points fills
WIDTH, HEIGHT = 720.0, 470.0  # of most figures, in points

_STYLE: dict[str, Any] = {
    "font.family": [_FONT],
    "font.size": SMALL,
    "legend.fontsize": SMALL,
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
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and edited
    "svg.hashsalt": "bench",  # with no date in the metadata, the same figure is the same bytes
}


@dataclass(frozen=True)
class Chart:
    """A finished figure."""

    name: str  # file stem under figures/
    kind: str  # what it is drawn by: "ball" (the first of the page), "scatter", "bars", "curves", "roofline", ...
    track: str
    title: str
    alt: str  # what the figure shows, for those who cannot see it
    caption: str  # what it leaves out; may be empty
    svg: str
    png: bytes
    narrow: Chart | None = None  # the same for a telephone


@contextmanager
def style() -> Iterator[None]:
    """The style above over matplotlib's defaults, whatever the reader's matplotlibrc says; also a decorator."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """An empty figure, in points, with a canvas that can measure text."""
    figure = Figure(figsize=(width / 72, height / 72))
    FigureCanvasAgg(figure)
    return figure


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in points from the lower left corner."""
    across, up = figure.get_size_inches() * 72
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def finished(
    figure: Figure, *, name: str, kind: str, track: str, title: str, conditions: str, alt: str, caption: str = ""
) -> Chart:
    """Write the heading and save the figure."""
    write_heading(figure, title, conditions)
    caption = " ".join(caption.split())
    return Chart(name, kind, track, title, alt, caption, svg=save_svg(figure), png=save_png(figure))


def write_heading(figure: Figure, title: str, conditions: str) -> None:
    """The title and, below it, up to two lines of conditions, at the top left."""
    across, up = figure.get_size_inches() * 72
    figure.text(12 / across, 1 - 10 / up, printable(title, 100), size=11.5, weight="bold", va="top")
    lines = textwrap.wrap(printable(conditions, 400), width=int(across / 4.75), max_lines=2, placeholder=" …")
    figure.text(12 / across, 1 - 27 / up, "\n".join(lines), color=MUTED, va="top", linespacing=1.3)


def save_svg(figure: Figure) -> str:
    """The figure as SVG text without date or version: equal figures give equal bytes.

    What `identify` has marked says its network's identifier when the pointer rests on it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = re.sub(r"""<g id=(["'])network:(.*?)\1>""", r"<g><title>\2</title>", buffer.getvalue().decode())
    return re.sub(rf"""(style="[^"]*)'{_FONT}'""", rf"\1{FONTS}", svg)


def save_png(figure: Figure) -> bytes:
    """The figure as a PNG file of two pixels per point."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()


def identify(drawn: Artist, name: str) -> None:
    """Mark a text or marker as that of the network with this identifier."""
    drawn.set_gid(f"network:{printable(name, 100)}")


def printable(text: str, longest: int = 40) -> str:
    """`text` on one line, cut to `longest` characters, with a box for each glyph that the font lacks."""
    line = " ".join(text.split())
    line = "".join(char if ord(char) in _glyphs() else "\N{WHITE SQUARE}" for char in line)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def slug(text: str) -> str:
    """`text` as a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "other"


def chart_name(model: Model) -> str:
    """As `written_name`, of what the font can draw, and no longer than fits."""
    return printable(written_name(model), 40 if model.own else 64)


def comparable(results: Results, models: Sequence[Model], metric: str) -> tuple[list[Model], str]:
    """The networks with a value above zero at the common batch size, and those missing and why (or nothing)."""
    measured = [model for model in models if results.cell(model, metric).value > 0]
    smaller = [model for model in measured if results.cell(model, metric).asked_batch_size is not None]
    absent = [chart_name(model) for model in models if model not in measured]
    sentences = []
    if smaller:
        asked = results.cell(smaller[0], metric).asked_batch_size
        used = [f"{chart_name(model)} (batch {results.cell(model, metric).batch_size})" for model in smaller]
        sentences.append(f"Omitted because batch {asked} did not fit in memory: {listing(used, MOST_NAMED)}.")
    if doubtful := [model for model in measured if "above_peak" in results.cell(model, metric).flags]:
        names = [chart_name(model) for model in doubtful]
        sentences.append(f"Omitted, as more than the device can do and so not reliable: {listing(names, MOST_NAMED)}.")
    if bounds := [chart_name(model) for model in measured if "lower_bound" in results.cell(model, metric).flags]:
        sentences.append(f"Lower bounds, as an operator cannot be counted: {listing(bounds, MOST_NAMED)}.")
    if absent:
        sentences.append(f"No {in_sentence(METRICS[metric])} measured for {listing(absent, MOST_NAMED)}.")
    return [model for model in measured if model not in (*smaller, *doubtful)], " ".join(sentences)


def without_room(names: Sequence[str]) -> str:
    """A sentence on the points whose names found no place."""
    return f"No room for the names of {listing(names, MOST_NAMED)}; the table has them." if names else ""


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(FT2Font(font_manager.findfont(_FONT)).get_charmap())


# --- Scales ---

_DECADE = 150.0  # points that a decade must have for ticks between its ends


def ticks_in(axis: Axis, unit: str) -> None:
    """Ticks are written as people read numbers of that unit."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, unit)))


def set_log_axis(axes: Axes, which: Literal["x", "y"], values: np.ndarray, unit: str) -> None:
    """A logarithmic scale around positive values, with ticks at round numbers of their unit."""
    low, high = math.log(float(values.min())), math.log(float(values.max()))
    margin = max(0.09 * (high - low), 0.25)
    limits = math.exp(low - margin), math.exp(high + margin)
    axis = axes.xaxis if which == "x" else axes.yaxis
    base = 2 if is_bytes(unit) else 10
    if which == "x":
        axes.set_xscale("log", base=base)
        axes.set_xlim(*limits)
    else:
        axes.set_yscale("log", base=base)
        axes.set_ylim(*limits)
    if is_bytes(unit):
        octaves = max(1, round((high - low) / math.log(2) / 6))
        axis.set_major_locator(LogLocator(base=2**octaves, numticks=20))
    else:
        length = axes.bbox.width if which == "x" else 2 * axes.bbox.height  # ticks stand closer above each other
        subs = (1.0,) if length / math.log10(limits[1] / limits[0]) < _DECADE else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=20))
    axis.set_minor_locator(NullLocator())
    ticks_in(axis, unit)


def scale_from_zero(axes: Axes, most: float, unit: str) -> None:
    """A linear scale up to `most`, with ticks at round numbers of their unit."""
    axes.set_xlim(0, max(most, 0) * 1.02 or 1)
    axes.xaxis.set_major_locator(_BinaryLocator() if is_bytes(unit) else MaxNLocator(6))
    ticks_in(axes.xaxis, unit)


class _BinaryLocator(MaxNLocator):
    """Ticks at round numbers of KiB, MiB or GiB."""

    def __init__(self) -> None:
        super().__init__(6)

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        unit = 1.0
        while vmax / unit >= 1024:
            unit *= 1024
        if unit > 1 and vmax < 6 * unit:  # a fifth of a GiB is no round number of MiB
            step = unit * 2.0 ** math.ceil(math.log2(vmax / unit / 6))
            return [step * i for i in range(math.floor(vmax / step) + 1)]
        return [float(value) * unit for value in super().tick_values(vmin / unit, vmax / unit)]


# --- A row per network ---

_ROW = 15.0
_TOP, _BOTTOM, _GAP = 62.0, 40.0, 22.0
_LEGEND, _PANEL_TITLE = 16.0, 14.0
STATUS_WORDS = {"oom": "out of memory", "timeout": "timed out", "failed": "failed"}


def row_figure(
    models: Sequence[Model], panels: Sequence[str] = ("",), legend: Sequence[Line2D | Patch] = (), right: float = 16.0
) -> tuple[Figure, list[Axes]]:
    """A figure with a row for each network, its legend, and empty axes for each panel title.

    `right` points are kept free beside each panel.
    """
    top = _TOP + (_LEGEND if legend else 0) + (_PANEL_TITLE if any(panels) else 0)
    height = top + _ROW * len(models) + _BOTTOM
    figure = new_figure(height=height)
    names = [chart_name(model) for model in models]
    left = 18 + 5.4 * max(map(len, names))
    if legend:
        figure.legend(
            handles=list(legend), ncols=len(legend), loc="upper left", columnspacing=1.4, handletextpad=0.5,
            bbox_to_anchor=(left / WIDTH, (height - _TOP + 8) / height), borderaxespad=0, handlelength=1.4,
        )  # fmt: skip
    width = (WIDTH - left - _GAP * (len(panels) - 1)) / len(panels) - right
    found: list[Axes] = []
    for number, words in enumerate(panels):
        axes = add_axes(figure, left + number * (width + right + _GAP), _BOTTOM, width, _ROW * len(models))
        axes.set_title(words, loc="left", size=SMALL, weight="bold", pad=4)
        axes.set_yticks(range(len(models)), names if number == 0 else [""] * len(names))
        for label, model in zip(axes.get_yticklabels(), models, strict=True):
            identify(label, model.name)
        axes.set_ylim(len(models) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        found.append(axes)
    return figure, found


def ranked(results: Results, models: Sequence[Model], metric: Metric) -> tuple[list[Model], list[Model], str]:
    """The networks with a value, the best first; those whose measurement failed; and those without a row and why."""
    cells = {model: results.cell(model, metric.name) for model in models}
    bad = [model for model, cell in cells.items() if not cell.measured and cell.status in STATUS_WORDS]
    good, missing = comparable(results, [model for model in models if model not in bad], metric.name)
    return sorted(good, key=lambda m: cells[m].value, reverse=metric.better == "higher"), bad, missing


def stack_bars(axes: Axes, parts: Sequence[Sequence[float]], colours: Sequence[str]) -> None:
    """A bar per row, of parts one after another: `parts` are the sizes of each part, row by row."""
    left = [0.0] * len(parts[0])
    for sizes, colour in zip(parts, colours, strict=True):
        axes.barh(range(len(sizes)), sizes, left=left, height=0.7, linewidth=0.4, edgecolor=PAPER, color=colour)
        left = [start + size for start, size in zip(left, sizes, strict=True)]


def write_beside(axes: Axes, row: int, end: float, words: str, of: str = "data", color: str = INK) -> None:
    """Words right of the end of a row's bar, or of a share `of` the "axes fraction"."""
    axes.annotate(
        words, (end, row), xycoords=(of, "data"), va="center", xytext=(4, 0), textcoords="offset points", color=color
    )


def write_status(axes: Axes, row: int, status: str) -> None:
    """Words such as "out of memory" where a row has no bar or dot."""
    write_beside(axes, row, 0, STATUS_WORDS[status], "axes fraction", MUTED)


# --- Names right of lines ---

_NAME_GAP = 11.5  # between names right of the axes, in points


@dataclass(frozen=True)
class LineEnd:
    """Where a line ends that is named at the right."""

    name: str  # the network's identifier
    words: str
    at: tuple[float, float]
    colour: str


def name_ends(axes: Axes, ends: Sequence[LineEnd]) -> list[str]:
    """Write the names of lines right of the axes, as high as they end, joined to them; returns those without room."""
    bottom, height = axes.bbox.y0, axes.bbox.height
    room = int(height / _NAME_GAP) + 1
    wanted = np.array([axes.transData.transform(end.at)[1] for end in ends[:room]])
    for end, up in zip(ends, spread(wanted, _NAME_GAP, bottom, bottom + height), strict=False):
        place = (up - bottom) / height
        axes.annotate(
            "", end.at, xytext=(1.025, place), textcoords="axes fraction", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
        text = axes.annotate(
            end.words, (1.03, place), xycoords="axes fraction", annotation_clip=False, va="center", size=SMALL
        )
        identify(text, end.name)
    return list(dict.fromkeys(end.words for end in ends[room:]))


def spread(wanted: Array, gap: float, low: float, high: float) -> Array:
    """The heights nearest to `wanted` that keep their order, are `gap` apart and lie within low..high.

    Least squares. Where the room is too small for all, the gap shrinks to fit.
    """
    if len(wanted) == 0:
        return wanted.copy()
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    level = isotonic_regression(wanted[order] - steps).x
    heights = np.empty_like(wanted)
    heights[order] = np.clip(level, low, high - steps[-1]) + steps
    return heights
