"""How wide a text will be, how it breaks, and how it is written safely."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

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
