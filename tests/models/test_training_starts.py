"""A few steps of SGD on a handful of images lower the loss, and gradients reach every parameter.

One or two light networks for every family that has a track to train on: the heavy ones are longer or wider
rows of the same code.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models import REGISTRY

# name, learning rate: without batch norm the same step would be too long.
LIGHT = (
    ("lenet5_mnist", 0.1),
    ("lenet5_cifar", 0.03),
    ("cnn_mnist", 0.02),
    ("alexnet_cifar", 0.01),
    ("zfnet_cifar", 0.01),
    ("nin_cifar", 0.01),
    ("vgg11_bn_cifar", 0.01),
    ("googlenet_cifar", 0.05),
    ("resnet20_cifar", 0.05),
    ("resnet18_cifar", 0.01),
    ("plain20_cifar", 0.05),
    ("preact_resnet18_cifar", 0.01),
    ("preact_resnet164_cifar", 0.05),
    ("wide_resnet16_4_cifar", 0.05),
    ("resnext29_32x4d_cifar", 0.01),
    ("stochastic_depth_resnet110_cifar", 0.01),
    ("fractalnet20_cifar", 0.01),
    ("densenet40_k12_cifar", 0.05),
    ("densenet_bc100_k12_cifar", 0.05),
    ("squeezenet_cifar", 0.003),
    ("vit_tiny_cifar", 0.003),
)


def test_every_family_that_is_trained_has_a_light_network_here() -> None:
    trained = {spec.family for spec in REGISTRY.values() if spec.track != "imagenet"}
    assert {REGISTRY[name].family for name, _ in LIGHT} == trained


@pytest.mark.parametrize(("name", "lr"), LIGHT, ids=[name for name, _ in LIGHT])
def test_training_starts(name: str, lr: float) -> None:
    torch.manual_seed(0)
    spec = REGISTRY[name]
    model = spec.build(num_classes=spec.num_classes)
    channels, height, width = spec.input_size
    images = F.interpolate(torch.randn(4, channels, 4, 4), size=(height, width))  # blocks survive pooling
    labels = torch.arange(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    losses: list[float] = []
    while len(losses) < 8 and not (losses and losses[-1] < 0.8 * losses[0]):
        torch.manual_seed(1)  # every step drops the same units and paths, so that losses can be compared
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert all(map(math.isfinite, losses)), losses
    assert losses[-1] < 0.8 * losses[0], losses
    assert unreached(model, images) == []


def unreached(model: nn.Module, images: torch.Tensor) -> list[str]:
    """Parameters without any gradient in eval mode, in which no path and no unit is dropped."""
    model.eval().zero_grad()
    logits = model(images)
    (logits * torch.randn_like(logits)).sum().backward()
    return [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
