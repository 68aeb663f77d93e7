"""The tutorial's MNIST network: its layer shapes, and the arithmetic of convolution and pooling that it teaches."""

import torch
from torch import nn

from models import REGISTRY

# conv, pool, conv, conv, pool, conv, linear; padding 2 keeps the size under a 5x5 kernel.
HAND_WORKED = [(16, 28, 28), (16, 14, 14), (32, 14, 14), (32, 14, 14), (32, 7, 7), (64, 7, 7), (10,)]


def test_layers_have_the_hand_worked_shapes() -> None:
    network = REGISTRY["cnn_mnist"].build(num_classes=10)
    x = torch.zeros(2, 1, 28, 28)
    shapes = []
    for layer in network.children():
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.Linear):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == HAND_WORKED


def test_parameters_add_up_by_hand() -> None:
    network = REGISTRY["cnn_mnist"].build(num_classes=10)
    by_hand = (16 * 25 + 16) + (32 * 16 * 25 + 32) + (32 * 32 * 25 + 32) + (64 * 32 * 25 + 64) + (64 * 49 * 10 + 10)
    assert by_hand == sum(p.numel() for p in network.parameters()) == REGISTRY["cnn_mnist"].params


def test_a_3x3_kernel_turns_6x6_into_4x4() -> None:
    image = torch.arange(36.0).reshape(1, 1, 6, 6)
    convolution = nn.Conv2d(1, 1, kernel_size=3, bias=False)
    nn.init.ones_(convolution.weight)
    out = convolution(image)
    assert out.shape == (1, 1, 4, 4)
    # The window at (0, 0) holds 0 1 2, 6 7 8, 12 13 14; each step to the right adds 9, each step down 54.
    expected = 63.0 + 9.0 * torch.arange(4.0) + 54.0 * torch.arange(4.0)[:, None]
    torch.testing.assert_close(out[0, 0], expected)


def test_a_2x2_pool_turns_4x4_into_2x2_and_keeps_the_largest() -> None:
    image = torch.tensor([[1.0, 3, 2, 1], [4, 2, 0, 5], [7, 0, 1, 1], [2, 6, 3, 8]]).reshape(1, 1, 4, 4)
    assert nn.MaxPool2d(2)(image).tolist() == [[[[4, 5], [7, 8]]]]
