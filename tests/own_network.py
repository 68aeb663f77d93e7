"""A network of one's own, as a row of the registry would have it."""

from collections.abc import Callable

from torch import nn

from bench.models import ModelSpec


def own_spec(
    build: Callable[..., nn.Module], input_size: tuple[int, int, int] = (3, 8, 8), name: str = "own_cifar"
) -> ModelSpec:
    return ModelSpec(name, "Own", 2024, "none", "cifar", input_size, 10, build)
