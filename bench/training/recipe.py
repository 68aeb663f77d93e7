"""What decides how a network is trained, apart from its budget, its seed and its images. Imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["cosine", "constant"]


# Numbers outside these ranges cannot be meant: a rate that learns nothing, a batch of none, a warm-up that never ends.
Share = Annotated[float, Meta(ge=0, le=0.99)]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, as data that people may edit."""

    optimizer: Optimizer
    peak_rate: Annotated[float, Meta(ge=1e-12, le=1e6)]  # at `batch_size`
    weight_decay: Annotated[float, Meta(ge=0, le=1e6)]
    batch_size: Annotated[int, Meta(ge=1, le=10**6)]
    source: str
    name: str = "default"  # how rows and reports call it
    momentum: Annotated[float, Meta(ge=0, le=0.999999)] = 0.9  # sgd only
    nesterov: bool = False  # sgd only
    schedule: Schedule = "cosine"  # after the warm-up
    warmup: Share = 0.1  # fraction of the budget
    label_smoothing: Share = 0.0
    clip_norm: Annotated[float, Meta(ge=1e-12, le=1e12)] | None = None  # largest norm of all gradients together
    # Black pixels around an image before it is cropped to its size at a random place.
    crop_padding: Annotated[int, Meta(ge=0, le=1000)] = 4
    flip: bool = True  # where the data set allows it
    resize: bool = False  # bring images to the size that the network takes; otherwise small ones are framed in black
    mean: tuple[float, ...] | None = None  # of pixels in 0..1, per channel; None: that of the data set
    std: tuple[Annotated[float, Meta(gt=0)], ...] | None = None
    settle_batch_norm: bool = True  # re-estimate its statistics on training images before the last test
    # Steps between points of the curve, besides those that every training has.
    curve_every: Annotated[int, Meta(ge=1)] | None = None

    def rate_at(self, batch_size: int) -> float:
        """The peak rate for another batch size: linear for SGD (Goyal et al. 2017, arXiv:1706.02677, section 2.1),
        with the square root for Adam (Krizhevsky 2014, arXiv:1404.5997, section 5)."""
        ratio = batch_size / self.batch_size
        return self.peak_rate * (ratio if self.optimizer == "sgd" else math.sqrt(ratio))

    def __str__(self) -> str:
        """What a row says of its training: "default: SGD 0.1, weight decay 0.0005, batch 128, cosine"."""
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
        known = [field.name for field in fields(Recipe)]
        if unknown := sorted(map(str, raw.keys() - set(known))):
            raise ValueError(f"no field is named {unknown[0]!r}; there are {', '.join(known)}")
        try:
            recipe = msgspec.convert(raw, Recipe)
        except msgspec.ValidationError as error:
            raise ValueError(_in_words(str(error), raw)) from None
        if len(recipe.mean or ()) != len(recipe.std or ()):
            raise ValueError("mean and std are given together, one of each per channel, or not at all")
        return recipe


def _in_words(reason: str, raw: Mapping[str, Any]) -> str:
    """A complaint of msgspec, beginning with the field and its value."""
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", reason):
        return f"{missing[1]} is missing"
    what, _, place = reason.partition(" - at `$.")
    name = re.split(r"\W", place)[0]
    choices = {"optimizer": get_args(Optimizer), "schedule": get_args(Schedule)}.get(name)
    expected = f"write one of {', '.join(choices)}" if choices else what[:1].lower() + what[1:]
    return f"{name} {raw[name]!r}: {expected}"
