"""ResNeXt: the 3x3 of each bottleneck is split into equal groups; their number is the cardinality.

Xie, Girshick, Dollar, Tu, He 2016, "Aggregated Residual Transformations for Deep Neural Networks",
arXiv:1611.05431: Figure 3c, Table 1 (224 networks), section 5.3 (29 layers for CIFAR-10).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from .layers import Bottleneck, CifarStem, ImageNetStem, StagedNet
from .spec import TORCHVISION, Paper


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

_BEARPAW = "bearpaw/pytorch-classification@24f1c45"

SPECS = (
    *(
        PAPER.imagenet(
            f"resnext{depth}_{cardinality}x{base_width}d",
            where,
            partial(ResNeXt, stem=ImageNetStem, layers=layers, cardinality=cardinality, base_width=base_width),
            params,
            TORCHVISION,
        )
        for depth, layers, cardinality, base_width, params, where in (
            (50, (3, 4, 6, 3), 32, 4, 25_028_904, "Table 1"),
            (101, (3, 4, 23, 3), 32, 8, 88_791_336, "Table 1 at 101 layers, torchvision's 32x8d"),
            (101, (3, 4, 23, 3), 64, 4, 83_455_272, "Table 4"),
        )
    ),
    *(
        PAPER.cifar(
            f"resnext29_{cardinality}x{base_width}d_cifar",
            where,
            partial(ResNeXt, stem=CifarStem, layers=(3, 3, 3), cardinality=cardinality, base_width=base_width),
            params,
            source,
        )
        for cardinality, base_width, params, source, where in (
            (8, 64, 34_426_698, _BEARPAW, "section 5.3"),
            (
                16,
                64,
                68_155_210,
                f"derived: 34,426,698 + 8 * 4,216,064 per group, from 8x64d and 4x64d (17,562,442) of {_BEARPAW}",
                "section 5.3",
            ),
            (32, 4, 4_775_754, "osmr/pytorchcv@7f31dc8", "section 5.3 with groups of 32x4d"),
        )
    ),
)
