"""How each family is trained by default: data, with the source of each number.

A recipe gives the peak rate at its own batch size; another batch size scales it, linearly for SGD (Goyal et al. 2017,
arXiv:1706.02677, section 2.1) and with the square root for Adam (Krizhevsky 2014, arXiv:1404.5997, section 5).
No number here was chosen by looking at a test set.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class Recipe:
    optimizer: Literal["sgd", "adam", "adamw"]
    peak_rate: float  # at `batch_size`
    weight_decay: float
    batch_size: int
    source: str
    momentum: float = 0.9  # sgd only
    nesterov: bool = False  # sgd only
    warmup: float = 0.1  # fraction of the budget
    label_smoothing: float = 0.0
    clip_norm: float | None = None  # largest norm of all gradients together

    def rate_at(self, batch_size: int) -> float:
        """The peak rate for another batch size."""
        ratio = batch_size / self.batch_size
        return self.peak_rate * (ratio if self.optimizer == "sgd" else math.sqrt(ratio))


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
    "LeNet": Recipe("adam", 2e-3, 0.0, 128, "Kingma & Ba 2015, arXiv:1412.6980: 1e-3, doubled for the short budget"),
    "MNIST CNN": Recipe(
        "adam",
        2e-3,
        0.0,
        64,
        "the MNIST tutorial of the project's sources uses Adam 0.01 and batch 64; lowered to 2e-3",
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
    "ResNeXt": Recipe("sgd", 0.1, 5e-4, 128, "Xie et al. 2016, section 5.3", nesterov=True),
    "Stochastic Depth": Recipe("sgd", 0.1, 1e-4, 128, "Huang et al. 2016, section 4", nesterov=True),
    "FractalNet": Recipe("sgd", 0.02, 5e-4, 100, "Larsson et al. 2016, section 4: SGD 0.02, momentum 0.9, batch 100"),
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


def recipe_for(family: str) -> Recipe:
    return RECIPES.get(family, DEFAULT_RECIPE)


def make_optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """The recipe's optimizer. AdamW decays only matrices and kernels, as ViT's recipes do; SGD decays everything."""
    trainable = [p for p in parameters if p.requires_grad]
    fused = all(p.is_cuda for p in trainable) and bool(trainable)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            trainable,
            lr=rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
            fused=fused,
        )
    if recipe.optimizer == "adam":
        return torch.optim.Adam(trainable, lr=rate, weight_decay=recipe.weight_decay, fused=fused)
    groups = [
        {"params": [p for p in trainable if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, fused=fused)
