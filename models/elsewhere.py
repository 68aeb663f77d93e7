"""Networks that are not in the registry: torchvision's, timm's, and your own, as a spec like any other.

`torchvision:NAME`, `timm:NAME` or `package.module:factory`. The factory is a class or function that returns a network
of fresh weights, with the number of classes as `num_classes` if it can be chosen; or it is a `ModelSpec` itself.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn

from .spec import InputSize, ModelSpec, Track, UnknownModel


def from_elsewhere(word: str, input_size: InputSize | None = None, num_classes: int | None = None) -> ModelSpec:
    """The spec of a network named `source:name`; what is not given comes from the source where it says.

    Raises:
        UnknownModel: there is no such network, or the source does not say what images it takes.
    """
    source, _, name = word.partition(":")
    if source == "torchvision":
        build, own_size, own_classes = _torchvision(name)
    elif source == "timm":
        build, own_size, own_classes = _timm(name)
    else:
        factory = _attribute(word, source, name)
        if isinstance(factory, ModelSpec):
            return factory
        build, own_size, own_classes = partial(_build_own, source, name), None, _default_classes(factory)
    size = input_size or own_size
    if size is None:
        raise UnknownModel(f"{word} does not say what images it takes: add --input-size, such as 32 or 3x96x96")
    track = _track(size)
    return ModelSpec(
        name=word,
        family=source.partition(".")[0],
        year=None,
        paper="",
        track=track,
        input_size=size,
        num_classes=num_classes or own_classes or (1000 if track == "imagenet" else 10),
        build=build,
    )


def _track(size: InputSize) -> Track:
    """Which networks it is compared with: those that take images of its size."""
    if size == (3, 32, 32):
        return "cifar"
    return "mnist" if size in ((1, 28, 28), (1, 32, 32)) else "imagenet"


Source = tuple[Callable[..., nn.Module], InputSize | None, int | None]


def _torchvision(name: str) -> Source:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise UnknownModel(f"torchvision has no classification network {name!r}{_nearest(name, known)}")
    weights: Any = models.get_model_weights(name)
    size = next(iter(weights)).transforms().crop_size[0] if len(weights) else 224
    return partial(_build_torchvision, name), (3, size, size), 1000


def _timm(name: str) -> Source:
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise UnknownModel(f"timm:{name} needs timm, which is not installed: pip install timm") from None
    known = timm.list_models()
    if name not in known:
        raise UnknownModel(f"timm has no network {name!r}{_nearest(name, known)}")
    facts = timm.get_pretrained_cfg(name)
    return partial(_build_timm, name), tuple(facts.input_size) if facts else (3, 224, 224), 1000


def _attribute(word: str, module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a user's module does while it is imported
        reason = (str(error).splitlines() or [""])[0]
        raise UnknownModel(
            f"{word}: {type(error).__name__}: {reason}; write package.module:factory, importable from here"
        ) from error


def _default_classes(factory: Callable[..., Any]) -> int | None:
    """The default of the factory's own `num_classes`, if it has one."""
    try:
        parameter = inspect.signature(factory).parameters.get("num_classes")
    except (TypeError, ValueError):
        return None
    return parameter.default if parameter is not None and isinstance(parameter.default, int) else None


# Builders are functions of this module and plain strings, so that a spec can be sent to a worker process.


def _build_torchvision(name: str, num_classes: int) -> nn.Module:
    from torchvision import models

    return models.get_model(name, weights=None, num_classes=num_classes)


def _build_timm(name: str, num_classes: int) -> nn.Module:
    return importlib.import_module("timm").create_model(name, pretrained=False, num_classes=num_classes)


def _build_own(module: str, name: str, num_classes: int) -> nn.Module:
    """Raises TypeError if the factory returns something other than a network."""
    factory = getattr(importlib.import_module(module), name)
    choosable = "num_classes" in inspect.signature(factory).parameters
    network = factory(num_classes=num_classes) if choosable else factory()
    if not isinstance(network, nn.Module):
        raise TypeError(f"{module}:{name} returned {type(network).__name__}, not a torch.nn.Module")
    return network


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    return f"; nearest: {', '.join(near)}" if near else ""
