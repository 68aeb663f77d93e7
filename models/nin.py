"""Network in Network: 1x1 convolutions after each convolution, global average pooling at the end.

Lin, Chen, Yan 2013, "Network In Network", arXiv:1312.4400: sections 3.1, 3.2 and Figure 2. Layer sizes
are those of the authors' definitions in the Caffe model zoo (gist mavenlin/e56253735ef32c3c296d for
CIFAR-10, mavenlin/d802a5849de39225bcc6 for ImageNet).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from .layers import GlobalAvgPool, he_init_fan_in
from .spec import OSMR, Paper


class Stage(NamedTuple):
    """One mlpconv layer and what stands before it."""

    channels: tuple[int, ...]  # of the convolution, then of each 1x1
    kernel_size: int
    stride: int = 1
    padding: int = 0
    pool: Callable[..., nn.Module] | None = None  # 3x3/2, before the convolution
    dropout: float = 0.0  # after that pool


def mlpconv(in_channels: int, stage: Stage) -> list[nn.Module]:
    """conv, ReLU, then 1x1, ReLU for each further width (section 3.1)."""
    layers: list[nn.Module] = []
    kernel_size, stride, padding = stage.kernel_size, stage.stride, stage.padding
    for out_channels in stage.channels:
        layers += [nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding), nn.ReLU(inplace=True)]
        in_channels, kernel_size, stride, padding = out_channels, 1, 1, 0
    return layers


class NiN(nn.Module):
    """mlpconv stages, 1x1 conv to one map per class, ReLU, global average pool (Figure 2): no linear layer.

    (B, 3, H, W) -> (B, num_classes)

    Differs from the paper: weights are drawn with He's variance and zero biases instead of small fixed
    standard deviations; there is no batch normalisation to make up for a bad start.
    """

    def __init__(self, stages: tuple[Stage, ...], num_classes: int) -> None:
        super().__init__()
        in_channels = 3
        layers: list[nn.Module] = []
        for stage in stages:
            if stage.pool is not None:
                layers.append(stage.pool(3, stride=2, ceil_mode=True))
            if stage.dropout > 0:
                layers.append(nn.Dropout(stage.dropout))
            layers += mlpconv(in_channels, stage)
            in_channels = stage.channels[-1]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Conv2d(in_channels, num_classes, 1), nn.ReLU(inplace=True))
        self.pool = GlobalAvgPool()
        he_init_fan_in(self, last_bias=1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.classifier(self.features(x)))


PAPER = Paper("NiN", 2013, "Lin et al. 2013, arXiv:1312.4400")

_AT_224 = (
    Stage((96, 96, 96), kernel_size=11, stride=4),
    Stage((256, 256, 256), kernel_size=5, padding=2, pool=nn.MaxPool2d),
    Stage((384, 384, 384), kernel_size=3, padding=1, pool=nn.MaxPool2d),
    Stage((1024, 1024), kernel_size=3, padding=1, pool=nn.MaxPool2d, dropout=0.5),
)
_AT_32 = (
    Stage((192, 160, 96), kernel_size=5, padding=2),
    Stage((192, 192, 192), kernel_size=5, padding=2, pool=nn.MaxPool2d, dropout=0.5),
    Stage((192, 192), kernel_size=3, padding=1, pool=nn.AvgPool2d, dropout=0.5),
)

_CAFFE = "section 3; the authors' ImageNet definition in the Caffe model zoo"
_BY_LAYER = "derived: 53,568 + 746,240 + 1,180,800 + 4,589,568 (stages) + 1,025,000 (last 1x1)"

SPECS = (
    PAPER.imagenet("nin", _CAFFE, partial(NiN, stages=_AT_224), 7_595_176, _BY_LAYER),
    PAPER.cifar("nin_cifar", "section 4.2", partial(NiN, stages=_AT_32), 966_986, OSMR),
)
