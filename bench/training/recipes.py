"""How a network is trained, apart from budget, seed and images: the default of each family, and files of others.

A recipe is data, with the source of each number. None of the defaults, in the recipes.json beside this, was chosen by
looking at a test set. `tune` writes such a file, of each family for which it has looked, and how that was found:
{"recipes": {family: {"recipe": {...}, "model": ..., "trials": [...], ...}}}. Only `recipe` is needed to train with it;
the rest is for people. Imports no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from bench.config import RequestError
from bench.records.run_folder import write_atomically

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
        """A recipe from what `to_json` made of it, however it has been edited since.

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


# For a family that the suite does not know: a user's own network.
DEFAULT_RECIPE = Recipe("adamw", 1e-3, 0.05, 128, "Loshchilov & Hutter 2017, arXiv:1711.05101", clip_norm=1.0)


def read_recipes(path: Path) -> dict[str, Recipe]:
    """The recipes of a file by family.

    Raises:
        RequestError: the file is missing, is no such file, or a recipe in it cannot be.
    """
    recipes = {}
    for family, entry in recipe_entries(path, "--recipes").items():
        try:
            recipes[family] = Recipe.from_json(entry.get("recipe") if isinstance(entry, dict) else None)
        except ValueError as error:
            raise RequestError(f"--recipes {path}: the recipe of {family}: {error}") from None
    return recipes


def recipe_entries(path: Path, flag: str) -> dict[str, Any]:
    """Everything that a file says of each family; `flag` named the file.

    Raises:
        RequestError: the file is missing or is no such file.
    """
    try:
        raw = msgspec.json.decode(path.expanduser().read_bytes())
    except FileNotFoundError:
        raise RequestError(f"{flag} {path}: there is no such file; `python -m bench tune` writes one") from None
    except OSError as error:
        raise RequestError(f"{flag} {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{flag} {path} is not JSON: {error}") from None
    found = raw.get("recipes") if isinstance(raw, dict) else None
    if not isinstance(found, dict):
        raise RequestError(f'{flag} {path}: expected {{"recipes": {{family: {{"recipe": ...}}}}}}')
    return found


def write_recipes(path: Path, found: Mapping[str, Any]) -> None:
    """Replace a file, atomically.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(path, msgspec.json.format(msgspec.json.encode({"recipes": found}), indent=2) + b"\n")


RECIPES = read_recipes(Path(__file__).with_name("recipes.json"))


def recipe_for(family: str, chosen: Mapping[str, Recipe] = MappingProxyType({})) -> Recipe:
    """The recipe that was chosen for a family, by a name or by tuning, else its default."""
    return chosen.get(family) or RECIPES.get(family, DEFAULT_RECIPE)
