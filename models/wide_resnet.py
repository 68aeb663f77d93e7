"""Wide ResNet: fewer, wider blocks reach the accuracy of a thousand thin ones, and run faster.

Zagoruyko, Komodakis 2016, "Wide Residual Networks", arXiv:1605.07146:
Table 1 (networks for CIFAR-10), section 3 (WRN-50-2-bottleneck for ImageNet).
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from .layers import BNReLU, Bottleneck, ImageNetStem, StagedNet, conv1x1, conv3x3
from .spec import BEARPAW, Paper


class WideBasicBlock(nn.Module):
    """BN, ReLU, 3x3, BN, ReLU, dropout, 3x3, + shortcut (Figure 1d).

    Where the shape changes, the shortcut is a 1x1 that shares the first BN and ReLU.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.activation = BNReLU(in_channels)
        self.branch = nn.Sequential(
            conv3x3(in_channels, out_channels, stride),
            BNReLU(out_channels),
            nn.Dropout(dropout),
            conv3x3(out_channels, out_channels),
        )
        self.projection: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.projection = conv1x1(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activation(x)
        shortcut = x if self.projection is None else self.projection(activated)
        return self.branch(activated) + shortcut


class CifarWideResNet(StagedNet):
    """3x3, three stages of n = (depth - 4) / 6 blocks at widths 16k, 32k, 64k, BN, ReLU, pool, linear.

    (B, 3, 32, 32) -> (B, num_classes), Table 1. k is `widen_factor`; `dropout` acts within a block.
    """

    def __init__(self, depth: int, widen_factor: int, num_classes: int, dropout: float = 0.0) -> None:
        def block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
            return WideBasicBlock(in_channels, width, stride, dropout), width

        n = (depth - 4) // 6
        widths = (16 * widen_factor, 32 * widen_factor, 64 * widen_factor)
        super().__init__(conv3x3(3, 16), 16, block, widths, (n, n, n), num_classes, last_activation=BNReLU)


class WideResNet(StagedNet):
    """ResNet whose bottlenecks are `widen_factor` times wider inside, but not at their ends (section 3).

    (B, 3, H, W) -> (B, num_classes)

    Differs from the paper: the stride is in the 3x3 convolution (see `Bottleneck`), as in torchvision.
    """

    def __init__(self, layers: tuple[int, int, int, int], widen_factor: int, num_classes: int) -> None:
        def block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
            return Bottleneck(in_channels, widen_factor * width, 4 * width, stride), 4 * width

        super().__init__(ImageNetStem(64), 64, block, (64, 128, 256, 512), layers, num_classes)


PAPER = Paper("Wide ResNet", 2016, "Zagoruyko & Komodakis 2016, arXiv:1605.07146")

_AT_101 = "the same at the depth of ResNet-101"
_BY_K = f"derived: 170,752 k^2 + 4,096 k + 474, which gives {BEARPAW} at k = 4 (2,748,890) and k = 10 (17,116,634)"

SPECS = (
    PAPER.imagenet("wide_resnet50_2", "WRN-50-2-bottleneck", partial(WideResNet, (3, 4, 6, 3), 2), 68_883_240),
    PAPER.imagenet("wide_resnet101_2", _AT_101, partial(WideResNet, (3, 4, 23, 3), 2), 126_886_696),
    PAPER.cifar("wide_resnet16_4_cifar", "Table 1", partial(CifarWideResNet, 16, 4), 2_748_890, BEARPAW),
    PAPER.cifar("wide_resnet16_8_cifar", "Table 1", partial(CifarWideResNet, 16, 8), 10_961_370, _BY_K),
    PAPER.cifar("wide_resnet28_10_cifar", "Table 1", partial(CifarWideResNet, 28, 10), 36_479_194, BEARPAW),
    PAPER.cifar("wide_resnet40_4_cifar", "Table 1", partial(CifarWideResNet, 40, 4), 8_949_210, BEARPAW),
)
