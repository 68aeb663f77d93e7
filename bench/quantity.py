"""Numbers with their units, names and errors as people read them: "270 k", "1.25 MiB", "71.2 ± 0.9 %"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from bench.metrics import Metric

_SI = ("", "k", "M", "G", "T", "P", "E")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
_PREFIXED = {
    "count": _SI, "images": _SI, "FLOPs": _SI, "FLOP/s": _SI, "bytes/s": _SI, "bytes": _BINARY, "bytes/image": _BINARY,
}  # fmt: skip
_SUFFIX = {"fraction": " %", "s": " s"}
# What must be said beside a number or an axis, where a prefix or sign does not say it.
_BESIDE = {
    **dict.fromkeys(("count", "images", "FLOPs", "FLOP/s", "bytes", "fraction", "s", "J"), ""),
    "bytes/image": "per image",
}
_AFTER = {**_BESIDE, "FLOPs": "FLOPs", "FLOP/s": "FLOP/s", "bytes/s": "B/s", "ratio": ""}  # what follows a quantity
_SMALL = {"J": ((1.0, " J"), (1e-3, " mJ"), (1e-6, " µJ"))}  # what one image costs is far below the unit

_TINY = 1e-4  # below it, zeros would hide the number

SECONDS = {"s": 1, "min": 60, "h": 3600}
MEMORY_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_TYPED_SI = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_TYPED_BYTES = {"B": 1.0, "kB": 1e3, "KiB": 2.0**10, **MEMORY_UNITS}
_TYPED: dict[str, Mapping[str, float]] = {
    "fraction": {"%": 0.01},
    "ms": {"ms": 1.0, "s": 1e3},
    "images/s": {"images/s": 1.0, "k": 1e3},
    "s": SECONDS,
    "J": {"J": 1.0, "mJ": 1e-3, "µJ": 1e-6},
}


def is_bytes(unit: str) -> bool:
    return _PREFIXED.get(unit) is _BINARY


def has_si_prefix(unit: str) -> bool:
    return _PREFIXED.get(unit) is _SI


def unit_beside(unit: str) -> str:
    """What a heading or a reader must be told beside a number of that unit; empty where its prefix or sign says it."""
    return _BESIDE.get(unit, unit)


def quantity(value: float, unit: str, digits: int = 3) -> str:
    """`value` to `digits` significant digits with its prefix: SI for counts, binary for bytes.

    A quantity without a prefix keeps all digits before the point: "45,123".
    """
    if not math.isfinite(value):
        return "–"
    scale, suffix = scale_of(value, unit, digits)
    scaled = value / scale
    if 0 < abs(scaled) < _TINY:
        return f"{scaled:.{digits - 1}e}{suffix}"
    whole = unit in _PREFIXED and scale == 1 and value == round(value)
    decimals = 0 if whole or scaled == 0 else max(0, digits - 1 - _exponent(scaled, digits))
    return f"{scaled:,.{decimals}f}{suffix}"


def with_unit(value: float, unit: str, digits: int = 3) -> str:
    """As `quantity`, with the unit where its prefix or sign does not say it: "5.92 ms", "71.4 GFLOP/s", "62.0 k"."""
    amount, after = quantity(value, unit, digits), _AFTER.get(unit, unit)
    prefixed = unit in ("FLOPs", "FLOP/s", "bytes/s") and amount[-1].isalpha()
    return f"{amount}{'' if prefixed else ' '}{after}".rstrip()


def measured(value: float, low: float, high: float, unit: str) -> str:
    """`value` ± the larger half of its interval, both rounded to the second digit of that half.

    Where that half exceeds the value, the ends of the interval say more: "2.1 (0.4 to 26)".
    """
    half = max(high - value, value - low)
    if not math.isfinite(value) or not math.isfinite(half) or half <= 0:
        return quantity(value, unit)
    if half >= abs(value) and low >= 0:
        return f"{quantity(value, unit, 2)} ({quantity(low, unit, 2)} to {quantity(high, unit, 2)})"
    scale, suffix = scale_of(value, unit, 3)
    if abs(value / scale) < _TINY:
        return f"{value / scale:.2e} ± {half / scale:.1e}{suffix}"
    decimals = 1 - _exponent(half / scale, 2)
    shown = max(0, decimals)
    return f"{round(value / scale, decimals):,.{shown}f} ± {round(half / scale, decimals):,.{shown}f}{suffix}"


def typed_units(unit: str) -> Mapping[str, float]:
    """What may stand behind a number of that unit, and what it multiplies."""
    prefixes = _PREFIXED.get(unit)
    return _TYPED.get(unit) or (
        _TYPED_BYTES if prefixes is _BINARY else _TYPED_SI if prefixes else {} if unit == "ratio" else {unit: 1.0}
    )


def parse_quantity(word: str, unit: str) -> float:
    """Read a number as people write it, in `unit`: "20e6", "20M" or "20,000,000", "50MiB", "5ms", "60%".

    Raises:
        ValueError: it is none, or infinite; the message says which units may follow it.
    """
    suffixes = typed_units(unit)
    number = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+"
    match = re.fullmatch(rf"((?:{number})(?:[eE][+-]?\d+)?)\s*(.*)", word.strip())
    value = float(match[1].replace(",", "")) if match else math.inf
    if match is None or not math.isfinite(value) or match[2] not in ("", *suffixes):
        units = f", alone or with one of {' '.join(suffixes)}" if len(suffixes) > 1 else ""
        units = units or "".join(f", alone or with {suffix}" for suffix in suffixes)
        raise ValueError(f"write a number{units}")
    return value * suffixes.get(match[2], 1.0)


def listing(words: Sequence[str], most: int | None = None) -> str:
    """Such as "a", "a and b", "a, b and c"; of more than `most`, the first ones "and 12 more"."""
    if most is not None and len(words) > most + 1:
        words = [*words[:most], f"{len(words) - most} more"]
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def joined(*parts: str, between: str = "; ") -> str:
    """Those that are not empty, such as the parts of a note."""
    return between.join(filter(None, parts))


def first_line(said: object) -> str:
    """The first line of an error's message or of a text, without what a terminal would take for an order."""
    empty = "it asked for more than it may have" if isinstance(said, MemoryError) else "no message"
    line = (str(said).strip().splitlines() or [empty])[0]
    return "".join(character if character.isprintable() else " " for character in line)[:500]


def ordinal(number: int) -> str:
    """Such as "1st", "2nd", "3rd", "11th"."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def tick(value: float, unit: str) -> str:
    """`value` on an axis: its prefix, and no digit that says nothing ("10 M", "0.5 %")."""
    scale, suffix = scale_of(value, unit, 4)
    return f"{float(f'{value / scale:.4g}'):,.10g}{suffix}"


def axis_label(metric: Metric, condition: str = "") -> str:
    """Such as "Saved activations (per image)": the metric with the unit that its ticks do not carry."""
    words = ", ".join(
        word for word in ("%" if metric.unit == "fraction" else unit_beside(metric.unit), condition) if word
    )
    return f"{metric.label} ({words})" if words else metric.label


def in_sentence(metric: Metric) -> str:
    """The label within a sentence: "inference throughput", but "MACs"."""
    return metric.label if metric.label[1:2].isupper() else metric.label[:1].lower() + metric.label[1:]


def scale_of(value: float, unit: str, digits: int = 3) -> tuple[float, str]:
    """What to divide by and what to write behind, such that rounding never yields "1000 k"."""
    if unit in _SMALL:
        size = float(f"{abs(value):.{digits}g}")
        return next((scale for scale in _SMALL[unit] if size >= scale[0]), _SMALL[unit][-1])
    if unit not in _PREFIXED:
        return (0.01 if unit == "fraction" else 1.0), _SUFFIX.get(unit, "")
    prefixes = _PREFIXED[unit]
    base = 1024 if prefixes is _BINARY else 1000
    power = 0
    digits = digits if base == 1000 else max(digits, 4)  # "1,023 KiB" has four
    while power + 1 < len(prefixes) and float(f"{abs(value) / base**power:.{digits}g}") >= base:
        power += 1
    return float(base**power), f" {prefixes[power]}".rstrip()


def _exponent(value: float, digits: int) -> int:
    """Power of ten of the leading digit once rounded: 9.996 counts as 10 at three digits."""
    return math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
