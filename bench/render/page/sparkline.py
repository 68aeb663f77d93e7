"""A training curve as small as a word: the networks of one family, and for measure the most accurate of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from bench.quantity import listing, quantity
from bench.render.results.kept import Currency

_WIDTH, _HEIGHT = 340.0, 130.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 10.0, 22.0
_UNITS: dict[Currency, tuple[str, str]] = {  # unit, and what follows it
    "images": ("count", " images"),
    "seconds": ("s", ""),
    "flops": ("FLOPs", "FLOPs"),
}


@dataclass(frozen=True)
class Line:
    """Test accuracy over what training had spent."""

    model: str
    spent: tuple[float, ...]
    top1: tuple[float, ...]


def sparkline(lines: Sequence[Line], measure: Line | None, colour: str, across: Currency, dataset: str) -> Markup:
    """An SVG element, with alt text; `measure` is drawn in grey behind the `lines`."""
    drawn = [*([measure] if measure else []), *lines]
    most_spent = max(max(line.spent) for line in drawn)
    most_top1 = max(max(line.top1) for line in drawn)
    unit, after = _UNITS[across]
    best = max(lines, key=lambda line: line.top1[-1])
    grey = f", {measure.model}, in grey, at {quantity(measure.top1[-1], 'fraction')}" if measure else ""
    alt = (
        f"Test accuracy on {dataset} over training of {listing([line.model for line in lines])}; {best.model} ends at "
        f"{quantity(best.top1[-1], 'fraction')}{grey}"
    )
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [
        f'<svg class="sparkline" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(alt)}.">',
        f'<path class="axis" d="M{_LEFT:g} {_TOP:g}V{bottom:g}H{right:g}"/>',
        f'<text x="{_LEFT - 5:g}" y="{_TOP + 7:g}" text-anchor="end">{quantity(most_top1, "fraction", 2)}</text>',
        f'<text x="{_LEFT - 5:g}" y="{bottom:g}" text-anchor="end">0 %</text>',
        f'<text x="{right:g}" y="{_HEIGHT - 7:g}" text-anchor="end">{quantity(most_spent, unit, 2)}{after}</text>',
    ]
    for line in drawn:
        points = "L".join(
            f"{_LEFT + x / most_spent * (right - _LEFT):.1f} {bottom - y / most_top1 * (bottom - _TOP):.1f}"
            for x, y in zip(line.spent, line.top1, strict=True)
        )
        look = 'class="measure"' if line is measure else f'class="own" stroke="{colour}"'
        parts.append(f'<path {look} d="M{points}"/>')
    return Markup("".join([*parts, "</svg>"]))
