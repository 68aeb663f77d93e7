"""One box of the picture: its lines of text, and the size that they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

from bench.quantity import quantity
from bench.structure import Node

LABEL_SIZE, DETAIL_SIZE = 12.0, 10.5
LABEL_LINE, DETAIL_LINE = 16.0, 14.0
BADGE = 18.0  # diameter of the circle with a panel's letter
CIRCLE = 22.0  # diameter of an addition
_PADDING = 8.0
_LONGEST = 300.0
# Widths of DejaVu Sans in em, rounded up by class: the widest of the fonts that the picture asks for, so that the
# others fit too.
_CLASSES = (
    ("ijlI|'", 0.3),
    (" ,.·", 0.33),
    ('ftr:;/!()[]{}-"', 0.42),
    ("cskvxyzJ?_*", 0.6),
    ("wG×→+=<>~^−÷", 0.84),
    ("mMW%@…", 1.0),
)
_WIDTHS = {char: width for chars, width in _CLASSES for char in chars}
_LOWER, _UPPER, _ELSE = 0.64, 0.79, 1.05  # other small letters and digits, other capitals, anything else


@dataclass(frozen=True)
class Box:
    """What is written in a box; widths and heights in pixels."""

    node: Node
    labels: tuple[str, ...]
    details: tuple[str, ...]
    badge: str  # the letter of the panel that shows the inside
    repeat: str  # "×18"
    width: float
    height: float

    @property
    def is_circle(self) -> bool:
        return self.node.kind == "join" and self.labels in (("+",), ("×",), ("−",), ("÷",))

    @property
    def is_pill(self) -> bool:
        return self.node.kind in ("input", "output")

    @property
    def left(self) -> float:
        """Room for the badge."""
        return BADGE + 6 if self.badge else 0.0

    @property
    def right(self) -> float:
        """Room for the count."""
        return text_width(self.repeat, LABEL_SIZE, bold=True) + 10 if self.repeat else 0.0


def box_of(node: Node, text_limit: float) -> Box:
    """The box of a node whose labels break at `text_limit`."""
    labels = tuple(wrapped([clipped(phrase, LABEL_SIZE, _LONGEST) for phrase in node.label], LABEL_SIZE, text_limit))
    details = _details(node, text_limit)
    badge = letter(node.panel) if node.panel else ""
    repeat = f"×{node.repeat}" if node.repeat > 1 else ""
    box = Box(node, labels, details, badge, repeat, CIRCLE, CIRCLE)
    if box.is_circle:
        return replace(box, details=())
    text = max(
        *(text_width(line, LABEL_SIZE, bold=node.kind == "block") for line in labels),
        *(text_width(line, DETAIL_SIZE) for line in details),
        0.0,
    )
    width = text + box.left + box.right + 2 * _PADDING
    height = LABEL_LINE * len(labels) + DETAIL_LINE * len(details) + _PADDING
    return replace(box, width=width, height=height)


def letter(panel: int) -> str:
    """A, B, ..., Z, AA, AB, ... for panels 1, 2, ...; the overview is 0 and has none."""
    name = ""
    while panel > 0:
        panel, digit = divmod(panel - 1, 26)
        name = chr(ord("A") + digit) + name
    return name


def shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _details(node: Node, width: float) -> tuple[str, ...]:
    if node.kind in ("input", "output"):
        return (shape_text(node.output_shape),) if node.output_shape else ()
    if node.kind in ("light", "join") and not node.params and not node.shared:
        return (shape_text(node.output_shape),) if node.label[0] in ("concat", "stack") else ()
    words = [shape_text(node.output_shape)] if node.output_shape else []
    if node.shared:
        words.append("shared weights")
    elif node.params:
        words.append(f"{quantity(node.params, 'count')} params")
    return tuple(wrapped(words, DETAIL_SIZE, width))


def text_width(text: str, size: float, bold: bool = False) -> float:
    """An upper estimate in the units of `size`."""
    em = sum(_WIDTHS.get(char) or _usual_width(char) for char in text)
    return em * size * (1.13 if bold else 1.0)


def _usual_width(char: str) -> float:
    if not char.isascii():
        return _ELSE
    return _LOWER if char.islower() or char.isdigit() else _UPPER


def wrapped(phrases: Sequence[str], size: float, width: float, between: str = " · ") -> list[str]:
    """The phrases on as few lines as the width allows, never broken within; a phrase that is wider has its own line."""
    lines: list[str] = []
    for phrase in phrases:
        longer = f"{lines[-1]}{between}{phrase}" if lines else phrase
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(phrase)
    return lines


def clipped(text: str, size: float, width: float, bold: bool = False) -> str:
    """`text` on one line without control characters, its end cut off where it is wider than `width`."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    if text_width(line, size, bold) <= width:
        return line
    while line and text_width(line + "…", size, bold) > width:
        line = line[:-1]
    return line.rstrip() + "…"


def written(text: str) -> str:
    """`text` as XML content or as an attribute in double quotes."""
    return escape(text, {'"': "&quot;"})
