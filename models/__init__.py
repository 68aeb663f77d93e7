"""The registry: every classic architecture, one file per paper, in the order of their years."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from . import (
    alexnet,
    densenet,
    fractalnet,
    googlenet,
    lenet,
    mnist_cnn,
    nin,
    preact_resnet,
    resnet,
    resnext,
    squeezenet,
    stochastic_depth,
    vgg,
    vit,
    wide_resnet,
    zfnet,
)
from .elsewhere import from_elsewhere, from_factory, in_a_package_called_bench, nearest, of_a_project, own_spec
from .spec import InputSize, ModelSpec, Track, UnknownModel

__all__ = [
    "REGISTRY",
    "InputSize",
    "ModelSpec",
    "Track",
    "UnknownModel",
    "from_elsewhere",
    "from_factory",
    "in_a_package_called_bench",
    "is_known",
    "own_spec",
    "register",
    "select",
]


def register(specs: Iterable[ModelSpec]) -> dict[str, ModelSpec]:
    """Specs by name, in the order given.

    Raises:
        ValueError: two specs have the same name, or a name does not end in its track.
    """
    registry: dict[str, ModelSpec] = {}
    for spec in specs:
        if spec.name in registry:
            raise ValueError(f"two networks are named {spec.name!r}")
        if spec.track != "imagenet" and not spec.name.endswith(f"_{spec.track}"):
            raise ValueError(f"{spec.name!r} is of the {spec.track} track: its name must end in _{spec.track}")
        registry[spec.name] = spec
    return registry


_PAPERS = (
    *(lenet, alexnet, zfnet, nin, vgg, googlenet, resnet, preact_resnet, wide_resnet, resnext, stochastic_depth),
    *(fractalnet, densenet, squeezenet, vit, mnist_cnn),
)
REGISTRY: dict[str, ModelSpec] = register(spec for paper in _PAPERS for spec in paper.SPECS)


def is_known(name: str) -> bool:
    """Whether the network is the registry's, torchvision's or timm's, all of which behave; others may do anything."""
    return name in REGISTRY or name.startswith(("torchvision:", "timm:", "hf-hub:"))


def select(
    patterns: Iterable[str], input_size: InputSize | None = None, num_classes: int | None = None
) -> list[ModelSpec]:
    """The networks that any of the names or globs ("resnet*", "*_cifar") match, each once, in registry order.

    A name with a colon is a network from elsewhere (`models.elsewhere`): it comes after the registry's, takes
    images of `input_size` and tells `num_classes` apart where its source does not say.

    Raises:
        UnknownModel: a pattern matches nothing.
    """
    chosen: set[str] = set()
    own: dict[str, ModelSpec] = {}
    for pattern in patterns:
        if ":" in pattern:
            spec = from_elsewhere(pattern, input_size, num_classes)
            own[spec.name] = spec
            continue
        matches = [name for name in REGISTRY if fnmatchcase(name, pattern)]
        if not matches:
            hint = of_a_project(pattern) or nearest(pattern, REGISTRY)
            raise UnknownModel(f"no network is named {pattern!r}{hint}; `python -m bench list` shows all")
        chosen.update(matches)
    return [*(spec for name, spec in REGISTRY.items() if name in chosen), *own.values()]
