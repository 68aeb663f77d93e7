"""Named recipes: the experiments of the project's four documents, as they were written.

A recipe here fixes network, images, budget and everything of `Recipe`. What a document leaves open is said in
`source`. One thing differs for all of them: every batch is full, where a `DataLoader` ends an epoch with a smaller one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.config import RequestError
from bench.training.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from bench.models import ModelSpec


@dataclass(frozen=True)
class Weights:
    """Trained weights that others publish."""

    url: str
    sha256: str  # of the file; torchvision publishes its first digits, in the file's name

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Experiment:
    spec: Callable[[], ModelSpec]
    dataset: str
    budget: str
    recipe: Recipe
    published_top1: float | None  # test accuracy
    published: str  # by whom and how, or why there is none
    weights: Weights | None = None  # that training starts from

    def described(self) -> dict[str, str | float | None]:
        """What a run says of it, apart from the recipe itself."""
        return {
            "name": self.recipe.name,
            "source": self.recipe.source,
            "documented_budget": self.budget,
            "documented_dataset": self.dataset,
            "published_top1": self.published_top1,
            "published": self.published,
        }


def _registered(name: str) -> Callable[[], ModelSpec]:
    def spec() -> ModelSpec:
        from bench.models import REGISTRY

        return REGISTRY[name]

    return spec


def _resnet18_of_torchvision() -> ModelSpec:
    """torchvision's ResNet-18, whose published weights fit, for CIFAR-10 at 224 x 224."""
    from bench.models import from_elsewhere

    return replace(
        from_elsewhere("torchvision:resnet18", (3, 224, 224), 10),
        name="resnet18_224_cifar",
        family="ResNet",
        year=2015,
        paper="He et al. 2015, arXiv:1512.03385, Table 1, as torchvision builds it",
        track="cifar",
    )


EXPERIMENTS: dict[str, Experiment] = {
    "finetune-224": Experiment(
        _resnet18_of_torchvision,
        "cifar10",
        "5ep",
        Recipe(
            "adam",
            1e-3,
            0.0,
            64,
            'the document "CNNs and image classification": ImageNet weights, a new last layer, every layer trained',
            "finetune-224",
            schedule="constant",
            warmup=0.0,
            crop_padding=0,
            flip=False,
            resize=True,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            settle_batch_norm=False,
        ),
        0.9017,
        "the document's own run, after 5 epochs",
        Weights(
            "https://download.pytorch.org/models/resnet18-f37072fd.pth",
            "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        ),
    ),
    "lenet5-mnist": Experiment(
        _registered("lenet5_mnist"),
        "mnist",
        "10ep",
        replace(
            RECIPES["LeNet"],
            source='the document "CS231n notes 4" gives the network and no training: this is the default of the family',
            name="lenet5-mnist",
        ),
        0.9905,
        "LeCun et al. 1998, section III.B: 0.95 % test errors after 20 passes, with the paper's own training",
    ),
    "mnist-cnn": Experiment(
        _registered("cnn_mnist"),
        "mnist",
        "9ep",
        Recipe(
            "adam",
            0.01,
            0.0,
            64,
            'the document "Introduction to CNNs"; it names no normalisation, so pixels are 0 to 1',
            "mnist-cnn",
            schedule="constant",
            warmup=0.0,
            crop_padding=0,
            flip=False,
            mean=(0.0,),
            std=(1.0,),
            settle_batch_norm=False,
            curve_every=100,
        ),
        None,
        "the document states no accuracy",
    ),
    "resnet18-cifar": Experiment(
        _registered("resnet18_cifar"),
        "cifar10",
        "10ep",
        Recipe(
            "sgd",
            0.1,
            5e-4,
            128,
            'the document "ResNet explained"',
            "resnet18-cifar",
            schedule="constant",
            warmup=0.0,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2023, 0.1994, 0.2010),
            settle_batch_norm=False,
        ),
        None,
        "the document prints its accuracy and does not state it",
    ),
}


def experiment_named(name: str) -> Experiment:
    """The experiment of this name.

    Raises:
        RequestError: there is none of this name; the message lists all.
    """
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]
    near = difflib.get_close_matches(name, EXPERIMENTS, n=1, cutoff=0.4)
    hint = f"; nearest: {near[0]}" if near else ""
    raise RequestError(f"no recipe is named {name!r}{hint}; there are {', '.join(EXPERIMENTS)}")
