"""Plain networks: ResNet without its shortcuts, the control that shows what the shortcuts do.

He, Zhang, Ren, Sun 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385:
section 3.3 (224 networks), section 4.2 (6n+2 networks for CIFAR-10).
"""

from __future__ import annotations

from functools import partial

from torch import nn

from .layers import CifarStem, ConvBNReLU, ImageNetStem, StagedNet
from .spec import Paper


def plain_block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """3x3, BN, ReLU, 3x3, BN, ReLU: a basic residual block without the addition, and its output channels."""
    block = nn.Sequential(
        ConvBNReLU(in_channels, width, kernel_size=3, stride=stride, padding=1),
        ConvBNReLU(width, width, kernel_size=3, padding=1),
    )
    return block, width


class PlainNet(StagedNet):
    """7x7 stem, four stages of pairs of 3x3 at widths 64, 128, 256, 512, pool, linear (Figure 3, middle).

    (B, 3, H, W) -> (B, num_classes)
    """

    def __init__(self, layers: tuple[int, int, int, int], num_classes: int) -> None:
        super().__init__(ImageNetStem(64), 64, plain_block, (64, 128, 256, 512), layers, num_classes)


class CifarPlainNet(StagedNet):
    """3x3, then three stages of n = (depth - 2) / 6 pairs of 3x3 at widths 16, 32, 64 (section 4.2).

    (B, 3, 32, 32) -> (B, num_classes)
    """

    def __init__(self, depth: int, num_classes: int) -> None:
        n = (depth - 2) // 6
        super().__init__(CifarStem(16), 16, plain_block, (16, 32, 64), (n, n, n), num_classes)


PAPER = Paper("Plain", 2015, "He et al. 2015, arXiv:1512.03385")

SPECS = (
    *(
        PAPER.imagenet(
            f"plain{depth}",
            "section 3.3",
            partial(PlainNet, layers=layers),
            params,
            f"derived: ResNet-{depth} less its three projections with BN, 173,824",
        )
        for depth, layers, params in ((18, (2, 2, 2, 2), 11_515_688), (34, (3, 4, 6, 3), 21_623_848))
    ),
    *(
        PAPER.cifar(f"plain{depth}_cifar", "section 4.2", partial(CifarPlainNet, depth=depth), params, source)
        for depth, params, source in (
            (20, 269_722, "derived: as ResNet-20, whose shortcuts have no parameters"),
            (56, 853_018, "facebookresearch/pycls@5719de6 dev/model_complexity.json, plain V-56"),
        )
    ),
)
