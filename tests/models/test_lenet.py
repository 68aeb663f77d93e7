"""The networks of lectures, LeNet-5 and the tutorial's for MNIST, against the shapes that are written beside them."""

import pytest
import torch
from torch import nn

from models import REGISTRY

# LeNet-5: conv, pool, conv, pool, three linear layers, worked out by hand: 32 - 5 + 1 = 28, 28 / 2 = 14, ...
LENET5 = [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,)]
# The tutorial: conv, pool, conv, conv, pool, conv, linear; padding 2 keeps the size under a 5x5 kernel.
MNIST_CNN = [(16, 28, 28), (16, 14, 14), (32, 14, 14), (32, 14, 14), (32, 7, 7), (64, 7, 7), (10,)]


@pytest.mark.parametrize(
    ("name", "by_hand"), [("lenet5_mnist", LENET5), ("lenet5_cifar", LENET5), ("cnn_mnist", MNIST_CNN)]
)
def test_layers_have_the_hand_worked_shapes(name: str, by_hand: list[tuple[int, ...]]) -> None:
    spec = REGISTRY[name]
    x = torch.zeros(2, *spec.input_size)
    shapes = []
    for layer in spec.build(num_classes=10).children():
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.AvgPool2d | nn.MaxPool2d | nn.Linear):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == by_hand


@pytest.mark.parametrize(
    ("name", "activation", "pool"),
    [("lenet5_mnist", nn.Tanh, nn.AvgPool2d), ("lenet5_cifar", nn.ReLU, nn.MaxPool2d)],
)
def test_the_canonical_network_is_tanh_with_average_pooling_the_adapted_one_relu_with_max_pooling(
    name: str, activation: type[nn.Module], pool: type[nn.Module]
) -> None:
    layers = {type(layer) for layer in REGISTRY[name].build(num_classes=10).children()}
    assert layers == {nn.Conv2d, nn.Linear, nn.Flatten, activation, pool}
