"""How each family is trained by default: data, with the source of each number; and files of other recipes.

No number here was chosen by looking at a test set. recipes.json has the recipe of each family for which `tune` has
looked for one, and how it was found: {"recipes": {family: {"recipe": {...}, "model": ..., "trials": [...], ...}}}. Only
`recipe` is needed to train with it; the rest is for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from bench.config import RequestError
from bench.records.files import write_atomically
from bench.training.recipe import Recipe

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
