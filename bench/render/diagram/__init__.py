"""The structure of a network as one SVG picture: overview on the left, the inside of its blocks on the right."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from bench.quantity import joined, quantity
from bench.render.diagram.layout import (
    BADGE,
    DETAIL_LINE,
    DETAIL_SIZE,
    FRAME_LABEL_SIZE,
    LABEL_LINE,
    LABEL_SIZE,
    Layout,
    Line,
    PlacedBox,
    clipped,
    layout_of,
    letter,
    shape_text,
    text_width,
    wrapped,
    written,
)
from bench.structure import Panel, Structure

_MARGIN = 24.0
_BETWEEN = 36.0  # panels
_PAGE = 900.0  # the width that panels of blocks are laid out in
_NARROWEST = 480.0
_WIDEST_TITLE = 330.0
_TITLE_SIZE, _PANEL_SIZE, _TEXT_SIZE = 17.0, 14.0, 11.5
_TEXT_LINE = 16.0
_STACK = (4, 2, 0)  # shifts of the outlines of a repeated box
_PANEL_TITLE = 42.0  # height of a panel's title and its subtitle

_READING = (
    "Data flows from top to bottom. A box says what is done, then the shape of the result (channels×height×width, or "
    "tokens×width) and the trained parameters."
)
_STRIDE = "/2 divides height and width by 2."
_REPEAT = "×3 stands for three such boxes in a row, with the parameters of all."
_LETTER = "A letter leads to the inside of a block; its numbers are those of the one that is named there."


@dataclass(frozen=True)
class _Placed:
    """A panel's layout at its place on the page; `y` is the top of its title, if it has one."""

    panel: Panel
    number: int
    layout: Layout
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        return max(self.layout.width, *(text_width(*line) for line in self.heading), 0.0)

    @property
    def heading(self) -> list[tuple[str, float, bool]]:
        """Lines above the panel: text, size, bold."""
        if self.number == 0:
            return []
        limit = max(self.layout.width, _WIDEST_TITLE)
        title = clipped(" · ".join(self.panel.title), _PANEL_SIZE, limit - BADGE - 6, bold=True)
        times = "the only one" if self.panel.count == 1 else f"one of {self.panel.count}"
        where = clipped(self.panel.path, DETAIL_SIZE, limit - text_width(f" · {times}", DETAIL_SIZE))
        return [(title, _PANEL_SIZE, True), (f"{where} · {times}", DETAIL_SIZE, False)]


def draw(structure: Structure, within: str = "") -> str:
    """The picture as the text of one SVG file: no script, nothing from elsewhere, equal bytes for equal structures.

    `within` a page that has the `style_sheet` already, it begins the ids of this picture, unlike those of any other.
    """
    placed, width, bottom = _arranged(structure)
    head, top = _header(structure, width)
    foot, height = _footer(structure, width, top + bottom + 10)
    prefix = f"{within}nn-" + (re.sub(r"[^A-Za-z0-9_-]+", "-", structure.name) or "network")
    size = f"{_number(width)} {_number(height)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="nn-structure" viewBox="0 0 {size}" '
        f'width="{_number(width)}" height="{_number(height)}" role="img" '
        f'aria-labelledby="{prefix}-title {prefix}-desc">',
        f'<title id="{prefix}-title">{written(f"Structure of {structure.name}")}</title>',
        f'<desc id="{prefix}-desc">{written(described(structure))}</desc>',
        "" if within else f"<style>{style_sheet()}</style>",
        f'<defs><marker id="{prefix}-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0.5 8 4 0 7.5z"/></marker></defs>',
        _tag("rect", class_="paper", width=width, height=height),
        *head,
    ]
    for one in placed:
        parts += _panel(one, top, prefix)
    parts += [*foot, "</svg>"]
    return "\n".join(parts) + "\n"


def described(structure: Structure) -> str:
    """The picture in words, for those who cannot see it."""
    sentences = [f"Input {shape_text(structure.input_size)}."]
    for number, panel in enumerate(structure.panels):
        steps = []
        for position, node in enumerate(panel.nodes[1:-1], start=1):
            sources = [edge for edge in panel.edges if edge.target == position]
            words = ", ".join(node.label) + (f", {node.repeat} times" if node.repeat > 1 else "")
            skips = [panel.nodes[edge.source].label[0] for edge in sources if edge.kind == "skip"]
            if skips:
                words += f" (with a skip from {', '.join(skips)})"
            elif len(sources) > 1:
                words += f" (of {len(sources)} branches)"
            steps.append(words)
        opening = f"Block {letter(number)}, {panel.title[0]}: " if number else ""
        sentences.append(f"{opening}{'; '.join(steps)}.")
    return " ".join(sentences)


def _arranged(structure: Structure) -> tuple[list[_Placed], float, float]:
    """The overview on the left, all else in rows on the right; and the width and height that this takes."""
    overview = _Placed(structure.panels[0], 0, layout_of(structure.panels[0], is_overview=True), _MARGIN)
    others = [
        _Placed(panel, number, layout_of(panel, is_overview=False))
        for number, panel in enumerate(structure.panels[1:], start=1)
    ]
    if not others:
        width = max(_NARROWEST, overview.layout.width + 2 * _MARGIN)
        return [replace(overview, x=(width - overview.layout.width) / 2)], width, overview.layout.height
    start = overview.x + overview.layout.width + _BETWEEN + 12
    end = max(_PAGE - _MARGIN, *(start + one.width for one in others))
    placed, x, y, row_height, widest = [overview], start, 0.0, 0.0, 0.0
    for one in others:
        if x > start and x + one.width > end:
            x, y, row_height = start, y + row_height + _BETWEEN, 0.0
        placed.append(replace(one, x=x, y=y))
        x += one.width + _BETWEEN
        widest = max(widest, x - _BETWEEN)
        row_height = max(row_height, one.layout.height + _PANEL_TITLE)
    return placed, max(_NARROWEST, widest + _MARGIN), max(overview.layout.height, y + row_height)


def _header(structure: Structure, width: float) -> tuple[list[str], float]:
    """Name, paper and totals; and where the panels begin."""
    room = width - 2 * _MARGIN
    y = _MARGIN + _TITLE_SIZE
    parts = [_text(clipped(structure.name, _TITLE_SIZE, room, bold=True), _MARGIN, y, _TITLE_SIZE, bold=True)]
    facts = [
        f"Input {shape_text(structure.input_size)}, {structure.params:,} parameters, "
        f"{quantity(structure.macs, 'count')} MACs for one image"
    ]
    if structure.year:
        facts.insert(0, f"{structure.family}, {structure.year}. {structure.paper}")
    for line in (line for fact in facts for line in _paragraph(fact, room)):
        y += _TEXT_LINE
        parts.append(_text(line, _MARGIN, y, _TEXT_SIZE, quiet=True))
    return parts, y + 26


def _footer(structure: Structure, width: float, y: float) -> tuple[list[str], float]:
    """How to read the picture, and what it leaves out; and the height of the whole page."""
    nodes = [node for panel in structure.panels for node in panel.nodes]
    strided = any(", /" in phrase for node in nodes for phrase in node.label)
    notes = (_STRIDE if strided else "", _REPEAT if any(node.repeat > 1 for node in nodes) else "")
    sentences = [_READING, joined(*notes, between=" ")]
    if len(structure.panels) > 1:
        sentences.append(_LETTER)
    if structure.unused:
        names = ", ".join(f"{module} ({quantity(params, 'count')} parameters)" for module, params in structure.unused)
        sentences.append(f"Not drawn, since only training uses it: {names}.")
    rule = " ".join(map(_number, (_MARGIN, y, width - _MARGIN, y)))
    parts = [_tag("path", class_="rule", d=f"M{rule}")]
    for sentence in filter(None, sentences):
        y += 4
        for line in _paragraph(sentence, width - 2 * _MARGIN):
            y += _TEXT_LINE
            parts.append(_text(line, _MARGIN, y, _TEXT_SIZE, quiet=True))
    return parts, y + _MARGIN


def _paragraph(text: str, width: float) -> list[str]:
    return wrapped([clipped(word, _TEXT_SIZE, width) for word in text.split()], _TEXT_SIZE, width, " ")


def _panel(one: _Placed, top: float, prefix: str) -> list[str]:
    x, y = one.x, one.y + top
    name = f"{prefix}-{letter(one.number) or 'overview'}"
    parts = [f'<g id="{name}">']
    if one.heading:
        (title, size, bold), (where, small, _) = one.heading
        parts += _badge(letter(one.number), x + BADGE / 2, y + BADGE / 2 - 4)
        parts.append(_text(title, x + BADGE + 6, y + 10, size, bold=bold))
        parts.append(_text(where, x, y + 28, small, quiet=True))
        y += _PANEL_TITLE
    parts.append(f'<g transform="translate({_number(x - one.layout.left)} {_number(y - one.layout.top)})">')
    for frame in one.layout.frames:
        parts.append(_rect("frame", frame.x, frame.y, frame.width, frame.height, 6))
        parts.append(_text(frame.label, frame.x + 1, frame.y - 4, FRAME_LABEL_SIZE, quiet=True))
    parts += [_line(line, prefix) for line in one.layout.lines]
    for position, box in enumerate(one.layout.boxes):
        parts.append(f'<g id="{name}-{position}">')
        parts += _box(box)
        parts.append("</g>")
    return [*parts, "</g>", "</g>"]


def _box(placed: PlacedBox) -> list[str]:
    box, node = placed.box, placed.box.node
    across, down = placed.middle
    if box.is_circle:
        return [
            _tag("circle", class_=node.kind, cx=across, cy=down, r=placed.width / 2),
            _text(box.labels[0], across, down + 5, 15, anchor="middle"),
        ]
    radius = placed.height / 2 if box.is_pill else 5
    parts = [
        _rect(node.kind, placed.x + shift, placed.y + shift, placed.width, placed.height, radius)
        for shift in (_STACK if box.repeat else (0,))
    ]
    across += (box.left - box.right) / 2
    y = placed.y + LABEL_LINE
    for label in box.labels:
        parts.append(_text(label, across, y, LABEL_SIZE, bold=node.kind == "block", anchor="middle"))
        y += LABEL_LINE
    y -= 2
    for detail in box.details:
        parts.append(_text(detail, across, y, DETAIL_SIZE, quiet=True, anchor="middle"))
        y += DETAIL_LINE
    if box.badge:
        parts += _badge(box.badge, placed.x + 8 + BADGE / 2, down)
    if box.repeat:
        parts.append(_text(box.repeat, placed.x + placed.width - 8, down + 5, LABEL_SIZE, bold=True, anchor="end"))
    return parts


def _badge(name: str, x: float, y: float) -> list[str]:
    look: dict[str, str | float] = {"font_size": 11 if len(name) == 1 else 8.5, "font_weight": "700"}
    return [
        _tag("circle", class_="badge", cx=x, cy=y, r=BADGE / 2),
        _tag("text", name, class_="letter", x=x, y=y + 4, **look, text_anchor="middle"),
    ]


def _line(line: Line, prefix: str) -> str:
    path = " ".join(f"{_number(x)} {_number(y)}" for x, y in line.points)
    return _tag("path", class_="line skip" if line.skips else "line", d=f"M{path}", marker_end=f"url(#{prefix}-tip)")


def _rect(kind: str, x: float, y: float, width: float, height: float, radius: float) -> str:
    return _tag("rect", class_=kind, x=x, y=y, width=width, height=height, rx=radius)


def _text(text: str, x: float, y: float, size: float, bold: bool = False, quiet: bool = False, anchor: str = "") -> str:
    weight = "600" if bold else ""
    look = {"class_": "quiet" if quiet else "", "font_weight": weight, "text_anchor": anchor}
    return _tag("text", written(text), x=x, y=y, font_size=size, **look)


def _tag(name: str, content: str = "", **attributes: str | float) -> str:
    """An element with those of its attributes that are not empty."""
    said = "".join(
        f' {key.strip("_").replace("_", "-")}="{value if isinstance(value, str) else _number(value)}"'
        for key, value in attributes.items()
        if value != ""
    )
    return f"<{name}{said}>{content}</{name}>" if content else f"<{name}{said}/>"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def style_sheet() -> str:
    """Of a picture that stands alone, or of the page that it is part of."""
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
