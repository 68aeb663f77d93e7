"""GoogLeNet: four branches of different kernel sizes side by side, made cheap by 1x1 convolutions in front.

Szegedy et al. 2014, "Going Deeper with Convolutions", arXiv:1409.4842: sections 4, 5, Figure 2b and Table 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .layers import GlobalAvgPool
from .spec import KUANGLIU, Paper


class GoogLeNetOutputs(NamedTuple):
    """What the network with auxiliary heads returns in training mode; torchvision's names and order."""

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, bias: bool = False
) -> nn.Sequential:
    """conv padded to keep the size (divided by `stride`), BN with epsilon 0.001 as in torchvision, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=bias),
        nn.BatchNorm2d(out_channels, eps=0.001),
        nn.ReLU(inplace=True),
    )


class Inception(nn.Module):
    """1x1 | 1x1, 3x3 | 1x1, "5x5" | pool, 1x1, concatenated (Figure 2b).

    (B, in_channels, H, W) -> (B, ch1x1 + ch3x3 + ch5x5 + pool_proj, H, W). The "5x5" is `convs_for_5x5`
    3x3 convolutions in a row.
    """

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3red: int,
        ch3x3: int,
        ch5x5red: int,
        ch5x5: int,
        pool_proj: int,
        convs_for_5x5: int,
        bias: bool,
    ) -> None:
        super().__init__()
        conv = partial(conv_bn_relu, bias=bias)
        self.branch1 = conv(in_channels, ch1x1, 1)
        self.branch2 = nn.Sequential(conv(in_channels, ch3x3red, 1), conv(ch3x3red, ch3x3, 3))
        self.branch3 = nn.Sequential(
            conv(in_channels, ch5x5red, 1),
            conv(ch5x5red, ch5x5, 3),
            *(conv(ch5x5, ch5x5, 3) for _ in range(convs_for_5x5 - 1)),
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(in_channels, pool_proj, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), dim=1)


class AuxiliaryHead(nn.Module):
    """4x4 average grid, 1x1 conv 128, linear 1024, ReLU, dropout 0.7, linear (section 5).

    (B, in_channels, H, W) -> (B, num_classes); sends gradient into the middle of the network.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        # Averaging to a 4x4 grid equals the paper's 5x5/3 average pool in size at 14x14.
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.conv = conv_bn_relu(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(x)).flatten(1)
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class GoogLeNet(nn.Module):
    """Stem, two Inception blocks, pool, five, pool, two, global average pool, dropout, linear (Table 1).

    (B, 3, H, W) -> (B, num_classes); with `auxiliary_heads` and in training mode a `GoogLeNetOutputs` of three such
    tensors. `pools` builds the max-pools before stages 4 and 5.

    Differs from the paper: batch norm after every convolution, and one 3x3 where the paper has a 5x5, both as in
    torchvision (its issue 906 keeps the 3x3 so that published weights fit): 6,624,904 parameters.

    Differs from the paper: `googlenet` leaves out the auxiliary heads, which only matter in training; `googlenet_aux`
    has them.

    Differs from the paper: dropout before the last layer is 0.2 as in torchvision, 0.4 in the paper.

    Differs from the paper: `googlenet_cifar` has a single 3x3 convolution at full resolution as its stem, two 3x3
    convolutions for each 5x5, biases beside batch norm and no dropout, as kuangliu/pytorch-cifar does.
    """

    def __init__(
        self,
        stem: Callable[[], nn.Module],
        pools: tuple[Callable[[], nn.Module], Callable[[], nn.Module]],
        convs_for_5x5: int,
        bias: bool,
        dropout: float,
        auxiliary_heads: bool,
        num_classes: int,
    ) -> None:
        super().__init__()
        inception = partial(Inception, convs_for_5x5=convs_for_5x5, bias=bias)
        self.stem = stem()
        self.inception3a = inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = inception(256, 128, 128, 192, 32, 96, 64)
        self.pool3 = pools[0]()
        self.inception4a = inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = inception(528, 256, 160, 320, 32, 128, 128)
        self.pool4 = pools[1]()
        self.inception5a = inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = inception(832, 384, 192, 384, 48, 128, 128)
        self.aux1 = AuxiliaryHead(512, num_classes) if auxiliary_heads else None
        self.aux2 = AuxiliaryHead(528, num_classes) if auxiliary_heads else None
        self.pool = GlobalAvgPool()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        _init(self)

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutputs:
        x = self.pool3(self.inception3b(self.inception3a(self.stem(x))))
        after_4a = self.inception4a(x)
        after_4d = self.inception4d(self.inception4c(self.inception4b(after_4a)))
        x = self.pool4(self.inception4e(after_4d))
        x = self.pool(self.inception5b(self.inception5a(x)))
        logits = self.fc(self.dropout(x))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return GoogLeNetOutputs(logits, self.aux2(after_4d), self.aux1(after_4a))
        return logits


def imagenet_stem() -> nn.Module:
    """7x7/2 conv 64, pool, 1x1 conv 64, 3x3 conv 192, pool: (B, 3, H, W) -> (B, 192, H/8, W/8)."""
    return nn.Sequential(
        conv_bn_relu(3, 64, 7, stride=2),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        conv_bn_relu(64, 64, 1),
        conv_bn_relu(64, 192, 3),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
    )


def _init(model: nn.Module) -> None:
    """Normal weights of standard deviation 0.01 as in torchvision; batch norm restores the scale."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


PAPER = Paper("GoogLeNet", 2014, "Szegedy et al. 2014, arXiv:1409.4842")

_AT_224 = partial(
    GoogLeNet,
    stem=imagenet_stem,
    pools=(partial(nn.MaxPool2d, 3, stride=2, ceil_mode=True), partial(nn.MaxPool2d, 2, stride=2, ceil_mode=True)),
    convs_for_5x5=1,
    bias=False,
    dropout=0.2,
)
_AT_32 = partial(
    GoogLeNet,
    stem=partial(conv_bn_relu, 3, 192, 3, bias=True),
    pools=(partial(nn.MaxPool2d, 3, stride=2, padding=1),) * 2,
    convs_for_5x5=2,
    bias=True,
    dropout=0.0,
    auxiliary_heads=False,
)
_HEADS = "Table 1 and section 5, auxiliary classifiers"
_COUNTED = "torchvision 0.29, googlenet(aux_logits=True)"

SPECS = (
    PAPER.imagenet("googlenet", "Table 1", partial(_AT_224, auxiliary_heads=False), 6_624_904),
    PAPER.imagenet("googlenet_aux", _HEADS, partial(_AT_224, auxiliary_heads=True), 13_004_888, _COUNTED),
    PAPER.cifar("googlenet_cifar", "Table 1, adapted to 32x32", _AT_32, 6_166_250, KUANGLIU),
)
