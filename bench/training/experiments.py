"""Named recipes: the experiments of the project's four documents, as they were written.

Those of experiments.json fix network, images, budget and everything of `Recipe`. What a document leaves open is said
in `source`. One thing differs for all of them: every batch is full, where a `DataLoader` ends an epoch with a smaller
one.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bench.config import RequestError
from bench.training.recipes import Recipe

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
    network: str  # of the registry, or torchvision's ResNet-18
    dataset: str
    budget: str
    recipe: Recipe
    published_top1: float | None  # test accuracy
    published: str  # by whom and how, or why there is none
    weights: Weights | None = None  # that training starts from

    def spec(self) -> ModelSpec:
        """The network; torchvision's ResNet-18, whose published weights fit, for CIFAR-10 at 224 x 224."""
        from bench.models import REGISTRY, from_elsewhere

        if self.network in REGISTRY:
            return REGISTRY[self.network]
        return replace(
            from_elsewhere(self.network, (3, 224, 224), 10),
            name="resnet18_224_cifar",
            family="ResNet",
            year=2015,
            paper="He et al. 2015, arXiv:1512.03385, Table 1, as torchvision builds it",
            track="cifar",
        )

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


_FILE = Path(__file__).with_name("experiments.json")
EXPERIMENTS = msgspec.json.decode(_FILE.read_bytes(), type=dict[str, Experiment])


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
