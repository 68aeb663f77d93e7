"""What decides how a network is trained, beside its budget, its seed and its images. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["cosine", "constant"]


@dataclass(frozen=True)
class Recipe:
    optimizer: Optimizer
    peak_rate: float  # at `batch_size`
    weight_decay: float
    batch_size: int
    source: str
    name: str = "default"  # how rows and reports call it
    momentum: float = 0.9  # sgd only
    nesterov: bool = False  # sgd only
    schedule: Schedule = "cosine"  # after the warm-up
    warmup: float = 0.1  # fraction of the budget
    label_smoothing: float = 0.0
    clip_norm: float | None = None  # largest norm of all gradients together
    crop_padding: int = 4  # black pixels around an image before it is cropped to its size at a random place
    flip: bool = True  # where the data set allows it
    resize: bool = False  # bring images to the size that the network takes; otherwise small ones are framed in black
    mean: tuple[float, ...] | None = None  # of pixels in 0..1, per channel; None: that of the data set
    std: tuple[float, ...] | None = None
    settle_batch_norm: bool = True  # re-estimate its statistics on training images before the last test
    curve_every: int | None = None  # steps between points of the curve, beside those that every training has

    def rate_at(self, batch_size: int) -> float:
        """The peak rate for another batch size: linear for SGD (Goyal et al. 2017, arXiv:1706.02677, section 2.1),
        with the square root for Adam (Krizhevsky 2014, arXiv:1404.5997, section 5)."""
        ratio = batch_size / self.batch_size
        return self.peak_rate * (ratio if self.optimizer == "sgd" else math.sqrt(ratio))

    def __str__(self) -> str:
        """ "default: SGD 0.1, weight decay 0.0005, batch 128, cosine": what a row says of its training."""
        name = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[self.optimizer]
        return (
            f"{self.name}: {name} {self.peak_rate:.4g}, weight decay {self.weight_decay:.4g}, "
            f"batch {self.batch_size}, {self.schedule}"
        )

    def to_json(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @staticmethod
    def from_json(raw: Any) -> Recipe:
        """A recipe from what `to_json` made of it, however somebody has edited it since.

        Raises:
            ValueError: a field is unknown, missing, or cannot be; the message names it.
        """
        if not isinstance(raw, Mapping):
            raise ValueError("a recipe is an object with fields such as optimizer and peak_rate")
        hints = get_type_hints(Recipe)
        known = {field.name: hints[field.name] for field in fields(Recipe)}
        if unknown := sorted(map(str, raw.keys() - known.keys())):
            raise ValueError(f"no field is named {unknown[0]!r}; there are {', '.join(known)}")
        for name in ("optimizer", "peak_rate", "weight_decay", "batch_size", "source"):
            if name not in raw:
                raise ValueError(f"{name} is missing")
        values = {name: _checked(name, value, known[name]) for name, value in raw.items()}
        recipe = Recipe(**values)
        if len(recipe.mean or ()) != len(recipe.std or ()):
            raise ValueError("mean and std are given together, one of each per channel, or not at all")
        return recipe


# Numbers that cannot be: a rate that learns nothing, a batch of none, a warm-up that never ends.
_RANGES: dict[str, tuple[float, float]] = {
    "peak_rate": (1e-12, 1e6),
    "weight_decay": (0, 1e6),
    "batch_size": (1, 1e6),
    "momentum": (0, 0.999999),
    "warmup": (0, 0.99),
    "label_smoothing": (0, 0.99),
    "clip_norm": (1e-12, 1e12),
    "crop_padding": (0, 1000),
    "curve_every": (1, 1e9),
}


def _checked(name: str, value: Any, kind: Any) -> Any:
    """`value` as the field holds it.

    Raises:
        ValueError: it is of another type or out of range.
    """
    if value is None and type(None) in get_args(kind):
        return None
    if name in ("optimizer", "schedule"):
        if value not in get_args(kind):
            raise ValueError(f"{name} {value!r}: write one of {', '.join(get_args(kind))}")
        return value
    if name in ("mean", "std"):
        if not isinstance(value, list) or not value or not all(map(_is_number, value)):
            raise ValueError(f"{name} {value!r}: write a list of numbers, one per channel")
        if name == "std" and min(value) <= 0:
            raise ValueError(f"std {value!r}: must be above zero")
        return tuple(map(float, value))
    if name in _RANGES:
        low, high = _RANGES[name]
        whole = name in ("batch_size", "crop_padding", "curve_every")
        if not _is_number(value) or not low <= value <= high or (whole and value != int(value)):
            raise ValueError(f"{name} {value!r}: write a {'whole ' if whole else ''}number from {low:g} to {high:g}")
        return int(value) if whole else float(value)
    expected = bool if kind is bool else str
    if not isinstance(value, expected):
        raise ValueError(f"{name} {value!r}: write {'true or false' if expected is bool else 'a text'}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
