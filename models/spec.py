"""What a network is: one frozen row of data per variant."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

Build = Callable[..., "nn.Module"]

Track = Literal["imagenet", "cifar", "mnist"]
InputSize = tuple[int, int, int]  # (channels, height, width)

# Who published parameters, or whose networks of that commit were built and counted.
TORCHVISION = "torchvision 0.29 weights metadata"
AKAMASTER = "akamaster/pytorch_resnet_cifar10@d5489e8"
BEARPAW = "bearpaw/pytorch-classification@24f1c45"
KUANGLIU = "kuangliu/pytorch-cifar@49b7aa9"
OSMR = "osmr/pytorchcv@7f31dc8"


class UnknownModel(LookupError):
    """No network has this name or matches this pattern; the message names the nearest."""


@dataclass(frozen=True)
class ModelSpec:
    """One network of one paper, and the facts that others published about it.

    `build(num_classes=...)` returns the network with fresh weights; it touches no device and
    no random state but torch's own, so it also builds under `torch.device("meta")`.
    """

    name: str  # unique; ends in the track unless the track is imagenet
    family: str  # "ResNet": one colour in every chart
    year: int | None  # of the first public version of the paper; None for a network without one
    paper: str  # "He et al. 2015, arXiv:1512.03385, section 4.2"
    track: Track
    input_size: InputSize
    num_classes: int
    build: Build  # a class, a function, or functools.partial of one
    params: int | None = None  # exact count; None for a network that nobody published
    params_source: str = ""  # who published or how it was derived
    published_top1: float | None = None  # of a network from elsewhere whose source says it
    published_source: str = ""
    guessed_classes: bool = False  # nobody says how many classes there are: the network has as many as it returns
    asked_classes: bool = False  # somebody's own network is asked for a number that it may not know how to have
    as_it_is: str = ""  # why it is neither trained nor counted without data: an object that cannot be copied

    @property
    def differences(self) -> tuple[str, ...]:
        """The "Differs from the paper: ..." paragraphs of the network's module, its class and its parts.

        Parts are the blocks, stems and so on that the row passes to the class.
        """
        target, parts = getattr(self.build, "described", self.build), []
        if isinstance(target, ModelSpec):  # a user's own
            return target.differences
        if isinstance(self.build, partial):
            target = self.build.func
            parts = [part for part in (*self.build.args, *self.build.keywords.values()) if callable(part)]
        module = sys.modules.get(target.__module__)
        paragraphs = [
            " ".join(paragraph.split())
            for documented in (module, target, *parts)
            for paragraph in (inspect.getdoc(documented) or "").split("\n\n")
        ]
        return tuple(p for p in paragraphs if p.startswith("Differs from the paper:"))


@dataclass(frozen=True)
class Paper:
    """A paper and the family of its networks; each method is a row of `SPECS`.

    `where` is the table or section that the network is from; it follows the citation after a comma, or as it is
    where it begins with a semicolon. `params` is the exact count, `source` who published it or how it was derived.
    """

    family: str
    year: int
    citation: str  # "He et al. 2015, arXiv:1512.03385"

    def imagenet(self, name: str, where: str, build: Build, params: int, source: str = TORCHVISION) -> ModelSpec:
        """A network for (3, 224, 224) and 1000 classes."""
        return self._row("imagenet", (3, 224, 224), 1000, name, where, build, params, source)

    def cifar(self, name: str, where: str, build: Build, params: int, source: str) -> ModelSpec:
        """A network for (3, 32, 32) and ten classes."""
        return self._row("cifar", (3, 32, 32), 10, name, where, build, params, source)

    def mnist(self, name: str, where: str, build: Build, params: int, source: str, height: int = 28) -> ModelSpec:
        """A network for (1, height, height) and ten classes."""
        return self._row("mnist", (1, height, height), 10, name, where, build, params, source)

    def _row(
        self, track: Track, size: InputSize, classes: int, name: str, where: str, build: Build, params: int, source: str
    ) -> ModelSpec:
        paper = f"{self.citation}{'' if where.startswith(';') else ', '}{where}"
        return ModelSpec(name, self.family, self.year, paper, track, size, classes, build, params, source)
