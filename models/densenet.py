"""DenseNet: every layer of a block sees the outputs of all layers before it, so that each can be very thin.

Huang, Liu, van der Maaten, Weinberger 2016, "Densely Connected Convolutional Networks", arXiv:1608.06993:
Table 1 (224 networks), section 3 and Table 2 (networks for CIFAR-10).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from .layers import BNReLU, GlobalAvgPool, ImageNetStem, conv1x1, conv3x3, he_init
from .spec import BEARPAW, Paper


class DenseLayer(nn.Module):
    """x, followed by `growth_rate` new channels: (B, C, H, W) -> (B, C + growth_rate, H, W).

    BN, ReLU, 3x3; with `bottleneck` ("B") BN, ReLU, 1x1 to 4 * growth_rate, BN, ReLU, 3x3.
    """

    def __init__(self, in_channels: int, growth_rate: int, bottleneck: bool, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [BNReLU(in_channels)]
        if bottleneck:
            layers += [conv1x1(in_channels, 4 * growth_rate), BNReLU(4 * growth_rate)]
            in_channels = 4 * growth_rate
        layers += [conv3x3(in_channels, growth_rate), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.layers(x)), dim=1)


class Transition(nn.Sequential):
    """BN, ReLU, 1x1, 2x2 average pool: (B, C, H, W) -> (B, out_channels, H/2, W/2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(BNReLU(in_channels), conv1x1(in_channels, out_channels), nn.AvgPool2d(2))


class DenseNet(nn.Module):
    """Stem, dense blocks of `layers` layers and transitions between, BN, ReLU, global average pool, linear.

    (B, 3, H, W) -> (B, num_classes). A transition keeps the share `compression` of its channels ("C" where it
    is below 1); `dropout` is the probability after every 3x3 of a dense layer.
    """

    def __init__(
        self,
        stem: nn.Module,
        in_channels: int,
        layers: Sequence[int],
        growth_rate: int,
        bottleneck: bool,
        compression: float,
        num_classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stem = stem
        blocks: list[nn.Module] = []
        for block, depth in enumerate(layers):
            if block > 0:
                out_channels = int(in_channels * compression)
                blocks.append(Transition(in_channels, out_channels))
                in_channels = out_channels
            dense = []
            for _ in range(depth):
                dense.append(DenseLayer(in_channels, growth_rate, bottleneck, dropout))
                in_channels += growth_rate
            blocks.append(nn.Sequential(*dense))
        self.blocks = nn.Sequential(*blocks)
        self.last_activation = BNReLU(in_channels)
        self.pool = GlobalAvgPool()
        self.classifier = nn.Linear(in_channels, num_classes)
        he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.last_activation(self.blocks(self.stem(x)))))


def cifar_densenet(depth: int, growth_rate: int, num_classes: int, dropout: float = 0.0) -> DenseNet:
    """Plain DenseNet (section 3): 3x3 to 16 channels, three blocks of (depth - 4) / 3 layers, no compression.

    The authors' later code starts from 2 * growth_rate channels here too (1,059,298 parameters at depth 40
    instead of 1,019,722) and pytorchcv halves the channels in between (599,050); the text has neither.
    """
    n = (depth - 4) // 3
    return DenseNet(conv3x3(3, 16), 16, (n, n, n), growth_rate, False, 1.0, num_classes, dropout)


def densenet_bc(
    stem: Callable[[int], nn.Module], layers: Sequence[int], growth_rate: int, num_classes: int, dropout: float = 0.0
) -> DenseNet:
    """DenseNet-BC (section 3, Table 1): a stem to 2 * growth_rate channels, bottlenecks, compression 0.5."""
    channels = 2 * growth_rate
    return DenseNet(stem(channels), channels, layers, growth_rate, True, 0.5, num_classes, dropout)


PAPER = Paper("DenseNet", 2016, "Huang et al. 2016, arXiv:1608.06993")

_AT_224 = partial(densenet_bc, ImageNetStem)
_AT_32 = partial(densenet_bc, partial(conv3x3, 3))
_K48 = "Table 1 with growth rate 48"

SPECS = (
    PAPER.imagenet("densenet121", "Table 1", partial(_AT_224, (6, 12, 24, 16), growth_rate=32), 7_978_856),
    PAPER.imagenet("densenet161", _K48, partial(_AT_224, (6, 12, 36, 24), growth_rate=48), 28_681_000),
    PAPER.imagenet("densenet169", "Table 1", partial(_AT_224, (6, 12, 32, 32), growth_rate=32), 14_149_480),
    PAPER.imagenet("densenet201", "Table 1", partial(_AT_224, (6, 12, 48, 32), growth_rate=32), 20_013_928),
    PAPER.cifar(
        "densenet40_k12_cifar",
        "Table 2",
        partial(cifar_densenet, depth=40, growth_rate=12),
        1_019_722,
        "derived: 432 stem + 894,960 dense layers + 118,944 transitions + 896 last BN + 4,490 linear",
    ),
    PAPER.cifar(
        "densenet100_k12_cifar",
        "Table 2",
        partial(cifar_densenet, depth=100, growth_rate=12),
        6_979_642,
        "derived: 432 stem + 6,188,160 dense layers + 777,024 transitions + 2,336 last BN + 11,690 linear",
    ),
    # Three blocks of (depth - 4) / 6 layers.
    PAPER.cifar("densenet_bc100_k12_cifar", "Table 2", partial(_AT_32, (16, 16, 16), growth_rate=12), 769_162, BEARPAW),
    PAPER.cifar(
        "densenet_bc250_k24_cifar", "Table 2", partial(_AT_32, (41, 41, 41), growth_rate=24), 15_324_406, BEARPAW
    ),
)
