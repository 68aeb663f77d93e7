"""ResNeXt: the 3x3 of each bottleneck is split into equal groups; their number is the cardinality.

Xie, Girshick, Dollar, Tu, He 2016, "Aggregated Residual Transformations for Deep Neural Networks",
arXiv:1611.05431: Figure 3c, Table 1 (224 networks), section 5.3 (29 layers for CIFAR-10).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from .layers import Bottleneck, CifarStem, ImageNetStem, StagedNet
from .spec import BEARPAW, OSMR, Paper


class ResNeXt(StagedNet):
    """Stem, stages of `layers` grouped bottlenecks at widths 64, 128, ..., average pool, linear (Table 1).

    (B, 3, H, W) -> (B, num_classes). The first stage has `cardinality` groups of `base_width` channels
    ("32x4d"), every further stage groups twice as wide.
    """

    def __init__(
        self,
        stem: Callable[[int], nn.Module],
        layers: tuple[int, ...],
        cardinality: int,
        base_width: int,
        num_classes: int,
    ) -> None:
        def block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
            inner = cardinality * base_width * width // 64
            return Bottleneck(in_channels, inner, 4 * width, stride, groups=cardinality), 4 * width

        widths = tuple(64 * 2**stage for stage in range(len(layers)))
        super().__init__(stem(64), 64, block, widths, layers, num_classes)


PAPER = Paper("ResNeXt", 2016, "Xie et al. 2016, arXiv:1611.05431")

_DEPTH_50 = partial(ResNeXt, ImageNetStem, (3, 4, 6, 3))
_DEPTH_101 = partial(ResNeXt, ImageNetStem, (3, 4, 23, 3))
_DEPTH_29 = partial(ResNeXt, CifarStem, (3, 3, 3))
_BY_GROUP = f"derived: 34,426,698 + 8 * 4,216,064 per group, from 8x64d and 4x64d (17,562,442) of {BEARPAW}"

SPECS = (
    PAPER.imagenet("resnext50_32x4d", "Table 1", partial(_DEPTH_50, 32, 4), 25_028_904),
    PAPER.imagenet(
        "resnext101_32x8d", "Table 1 at 101 layers, torchvision's 32x8d", partial(_DEPTH_101, 32, 8), 88_791_336
    ),
    PAPER.imagenet("resnext101_64x4d", "Table 4", partial(_DEPTH_101, 64, 4), 83_455_272),
    PAPER.cifar("resnext29_8x64d_cifar", "section 5.3", partial(_DEPTH_29, 8, 64), 34_426_698, BEARPAW),
    PAPER.cifar("resnext29_16x64d_cifar", "section 5.3", partial(_DEPTH_29, 16, 64), 68_155_210, _BY_GROUP),
    PAPER.cifar(
        "resnext29_32x4d_cifar", "section 5.3 with groups of 32x4d", partial(_DEPTH_29, 32, 4), 4_775_754, OSMR
    ),
)
