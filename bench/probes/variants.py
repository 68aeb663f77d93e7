"""The networks of a paper with another activation, other initial weights, or without batch norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

Activation = Literal["sigmoid", "tanh", "relu"]
Initialisation = Literal["he", "small_normal"]

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
SMALL_STD = 0.01  # of all layers: Krizhevsky et al. 2012, section 5; He et al. 2015, arXiv:1502.01852, section 2.2


@dataclass(frozen=True)
class Variant:
    """What is changed in a network of ReLUs and batch norm, and what is left."""

    activation: Activation
    initialisation: Initialisation
    batch_norm: bool


def change(network: nn.Module, variant: Variant) -> None:
    """Turn a network into a variant of itself, with fresh weights from torch's random state.

    Activations and norms are found as modules, so a network that calls `torch.relu` keeps that. Weights of
    convolutions and linear layers are normal: with variance 2 / fan-in for "he" (arXiv:1502.01852, equation 10),
    with a standard deviation of 0.01 for "small_normal"; biases are zero.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, _ACTIVATIONS[variant.activation]())
            elif isinstance(child, nn.BatchNorm2d) and not variant.batch_norm:
                setattr(parent, name, nn.Identity())
    initialise(network, variant.initialisation)


def initialise(network: nn.Module, initialisation: Initialisation) -> None:
    """Draw the weights of convolutions and linear layers anew; the affine part of a norm stays."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if initialisation == "he":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.normal_(module.weight, std=SMALL_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
