"""SqueezeNet: AlexNet's accuracy with fifty times fewer parameters, by squeezing channels before each 3x3.

Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
arXiv:1602.07360: section 3 and Table 1. Version 1.1 is from the authors' repository (forresti/SqueezeNet).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from .layers import GlobalAvgPool, he_init_fan_in
from .spec import Paper

POOL: Final = "pool"


class Fire(nn.Module):
    """1x1 squeeze, ReLU, then 1x1 expand, ReLU | 3x3 expand, ReLU, concatenated (section 3.2, Figure 1).

    (B, in_channels, H, W) -> (B, 2 * expand_channels, H, W)
    """

    def __init__(self, in_channels: int, squeeze_channels: int, expand_channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze_channels, 1)
        self.expand1x1 = nn.Conv2d(squeeze_channels, expand_channels, 1)
        self.expand3x3 = nn.Conv2d(squeeze_channels, expand_channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.squeeze(x))
        return torch.cat((self.relu(self.expand1x1(x)), self.relu(self.expand3x3(x))), dim=1)


class SqueezeNet(nn.Module):
    """conv, ReLU, Fire blocks and 3x3/2 max-pools, dropout, 1x1 conv, ReLU, global average pool (Table 1).

    (B, 3, H, W) -> (B, num_classes). `rows` lists what follows the first convolution, `stem`: a pool, or the
    squeeze and expand channels of a Fire block. There is no batch norm; weights have He's fan-in variance, and
    training starts at small rates (SGD with momentum 0.9: 0.01 and below).

    Differs from the paper: `squeezenet1_1` has a 3x3 first convolution of 64 filters and pools earlier
    (the authors' later version: 2.4 times fewer operations at the same accuracy).

    Differs from the paper: `squeezenet_cifar` is version 1.1 whose first convolution keeps the full 32x32
    resolution (stride 1, padding 1), without the pool after it; the paper has no network for 32x32.
    """

    def __init__(
        self, stem: Callable[[], nn.Conv2d], rows: tuple[tuple[int, int] | str, ...], num_classes: int
    ) -> None:
        super().__init__()
        first_conv = stem()
        layers: list[nn.Module] = [first_conv, nn.ReLU(inplace=True)]
        in_channels = first_conv.out_channels
        for row in rows:
            if isinstance(row, str):
                layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
            else:
                squeeze_channels, expand_channels = row
                layers.append(Fire(in_channels, squeeze_channels, expand_channels))
                in_channels = 2 * expand_channels
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Sequential(nn.Conv2d(in_channels, num_classes, 1), nn.ReLU(inplace=True))
        self.pool = GlobalAvgPool()
        he_init_fan_in(self, last_bias=1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.classifier(self.dropout(self.features(x))))


PAPER = Paper("SqueezeNet", 2016, "Iandola et al. 2016, arXiv:1602.07360")

_FIRES_2_3 = ((16, 64), (16, 64))
_FIRES_4_5 = ((32, 128), (32, 128))
_FIRES_6_TO_9 = ((48, 192), (48, 192), (64, 256), (64, 256))
_ROWS_1_0 = (POOL, *_FIRES_2_3, (32, 128), POOL, (32, 128), *_FIRES_6_TO_9[:3], POOL, (64, 256))
_ROWS_1_1 = (POOL, *_FIRES_2_3, POOL, *_FIRES_4_5, POOL, *_FIRES_6_TO_9)
_VERSION_1_0 = partial(SqueezeNet, stem=partial(nn.Conv2d, 3, 96, 7, stride=2), rows=_ROWS_1_0)
_VERSION_1_1 = partial(SqueezeNet, stem=partial(nn.Conv2d, 3, 64, 3, stride=2), rows=_ROWS_1_1)
_AT_32 = partial(SqueezeNet, stem=partial(nn.Conv2d, 3, 64, 3, padding=1), rows=_ROWS_1_1[1:])
_LESS = "derived: squeezenet1_1 less 990 classes, 1,235,496 - 990 * 513"

SPECS = (
    PAPER.imagenet("squeezenet1_0", "Table 1", _VERSION_1_0, 1_248_424),
    PAPER.imagenet("squeezenet1_1", "; version 1.1 of forresti/SqueezeNet", _VERSION_1_1, 1_235_496),
    PAPER.cifar("squeezenet_cifar", "; version 1.1, adapted to 32x32", _AT_32, 727_626, _LESS),
)
