"""How a network is trained, apart from budget, seed and images: the default of each family, and files of others.

Data, with the source of each number; none was chosen by looking at a test set. recipes.json has the recipe of each
family for which `tune` has looked for one, and how it was found: {"recipes": {family: {"recipe": {...}, "model": ...,
"trials": [...], ...}}}. Only `recipe` is needed to train with it; the rest is for people. Imports no torch.
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


_LECTURE = "the ResNet tutorial of the project's sources: SGD 0.1, momentum 0.9, weight decay 5e-4, batch 128"
_RESNET = Recipe("sgd", 0.1, 5e-4, 128, _LECTURE, nesterov=True)
_NO_BATCH_NORM = Recipe(
    "sgd",
    0.01,
    5e-4,
    128,
    "Krizhevsky et al. 2012, section 5: SGD 0.01, momentum 0.9, weight decay 5e-4, batch 128; "
    "gradients clipped because nothing else bounds them without batch norm",
    clip_norm=1.0,
)

RECIPES: dict[str, Recipe] = {
    "LeNet": Recipe(
        "adam",
        3e-3,
        0.0,
        128,
        "Kingma & Ba 2015, arXiv:1412.6980: 1e-3, raised for short budgets (0.674 against 0.661 of 2e-3 after 10 "
        "epochs, on 5,000 training images held out); crops of 2 pixels, since so small a network hardly overfits",
        crop_padding=2,
    ),
    "MNIST CNN": Recipe(
        "adam",
        2e-3,
        0.0,
        64,
        "the MNIST tutorial of the project's sources uses Adam 0.01 and batch 64; lowered to 2e-3; crops of 2 pixels "
        "leave a digit whole",
        crop_padding=2,
    ),
    "AlexNet": _NO_BATCH_NORM,
    "ZFNet": _NO_BATCH_NORM,
    "NiN": Recipe(
        "adam",
        1e-3,
        0.0,
        128,
        "Kingma & Ba 2015, arXiv:1412.6980; with SGD at 0.01 the network, which has no batch norm, starts too late",
        clip_norm=1.0,
    ),
    "VGG": Recipe("sgd", 0.05, 5e-4, 128, "Simonyan & Zisserman 2014, section 3.1, with the rate batch norm allows"),
    "GoogLeNet": _RESNET,
    "ResNet": _RESNET,
    "Plain": _RESNET,
    "PreAct ResNet": _RESNET,
    "Wide ResNet": Recipe("sgd", 0.1, 5e-4, 128, "Zagoruyko & Komodakis 2016, section 3", nesterov=True),
    "ResNeXt": Recipe(
        "sgd",
        0.1,
        5e-4,
        128,
        "Xie et al. 2016, section 5.3; gradients, whose norm is about 16 at first, are clipped (Pascanu et al. 2012, "
        "arXiv:1211.5063, section 3.2), or the loss rises fourfold where a short budget leaves few steps of warm-up",
        nesterov=True,
        clip_norm=1.0,
    ),
    "Stochastic Depth": Recipe("sgd", 0.1, 1e-4, 128, "Huang et al. 2016, section 4", nesterov=True),
    "FractalNet": Recipe(
        "sgd",
        0.02,
        5e-4,
        100,
        "Larsson et al. 2016, section 4: SGD 0.02, momentum 0.9, batch 100; gradients are clipped, because that of a "
        "batch which leaves only the deepest column is thirty times as long as that of the shortest",
        clip_norm=5.0,
    ),
    "DenseNet": Recipe("sgd", 0.1, 1e-4, 64, "Huang et al. 2016, arXiv:1608.06993, section 4.2", nesterov=True),
    "SqueezeNet": Recipe(
        "adam",
        1e-3,
        0.0,
        128,
        "Kingma & Ba 2015, arXiv:1412.6980; the network has no batch norm",
        clip_norm=1.0,
    ),
    "ViT": Recipe(
        "adamw",
        1e-3,
        0.05,
        128,
        "Touvron et al. 2020, arXiv:2012.12877, Table 9: AdamW, weight decay 0.05, warm-up; rate for a small network",
        label_smoothing=0.1,
        clip_norm=1.0,
    ),
}

# For a family that the suite does not know: a user's own network.
DEFAULT_RECIPE = Recipe("adamw", 1e-3, 0.05, 128, "Loshchilov & Hutter 2017, arXiv:1711.05101", clip_norm=1.0)


def recipe_for(family: str, chosen: Mapping[str, Recipe] = MappingProxyType({})) -> Recipe:
    """The recipe that was chosen for a family, by a name or by tuning, else its default."""
    return chosen.get(family) or RECIPES.get(family, DEFAULT_RECIPE)


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
