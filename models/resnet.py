"""ResNet: each block learns a change to its input, so that depth no longer makes training harder.

He, Zhang, Ren, Sun 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385:
section 3.3 and Table 1 (224 networks), section 4.2 (6n+2 networks for CIFAR-10).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from .layers import (
    BlockBuilder,
    Bottleneck,
    CifarStem,
    ImageNetStem,
    StagedNet,
    conv3x3,
    pad_shortcut,
    projection_shortcut,
)
from .spec import TORCHVISION, Paper


class BasicBlock(nn.Module):
    """3x3, BN, ReLU, 3x3, BN, + shortcut, ReLU (Figure 5, left)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.shortcut(x))


def basic_block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """A basic block of a four-stage network and its number of output channels."""
    return BasicBlock(in_channels, width, stride, projection_shortcut(in_channels, width, stride)), width


def padded_block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """A basic block of a 6n+2 network, with a parameter-free shortcut, and its number of output channels."""
    return BasicBlock(in_channels, width, stride, pad_shortcut(in_channels, width, stride)), width


def bottleneck_block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """A bottleneck block, four times wider at its end than inside, and its number of output channels.

    Differs from the paper: the stride is in the 3x3 convolution, not in the first 1x1 (see `Bottleneck`).
    """
    return Bottleneck(in_channels, width, 4 * width, stride), 4 * width


def cifar_stem(out_channels: int) -> nn.Module:
    """3x3, BN, ReLU at full resolution.

    Differs from the paper: a 3x3 convolution with stride 1 and no pooling is in place of the 7x7 stem. The
    paper has no such network for small images, but it is what most people call "ResNet-18 on CIFAR".
    """
    return CifarStem(out_channels)


class ResNet(StagedNet):
    """Stem, four stages of `layers` blocks at widths 64, 128, 256, 512, average pool, linear (Table 1).

    (B, 3, H, W) -> (B, num_classes)
    """

    def __init__(
        self,
        stem: Callable[[int], nn.Module],
        block: BlockBuilder,
        layers: tuple[int, int, int, int],
        num_classes: int,
    ) -> None:
        super().__init__(stem(64), 64, block, (64, 128, 256, 512), layers, num_classes)


class CifarResNet(StagedNet):
    """3x3, then three stages of n = (depth - 2) / 6 basic blocks at widths 16, 32, 64 (section 4.2).

    (B, 3, 32, 32) -> (B, num_classes). Shortcuts have no parameters (option A).
    """

    def __init__(self, depth: int, num_classes: int) -> None:
        n = (depth - 2) // 6
        super().__init__(CifarStem(16), 16, padded_block, (16, 32, 64), (n, n, n), num_classes)


PAPER = Paper("ResNet", 2015, "He et al. 2015, arXiv:1512.03385")

_AKAMASTER = "akamaster/pytorch_resnet_cifar10@d5489e8"
_LAYERS: dict[int, tuple[BlockBuilder, tuple[int, int, int, int]]] = {
    18: (basic_block, (2, 2, 2, 2)),
    34: (basic_block, (3, 4, 6, 3)),
    50: (bottleneck_block, (3, 4, 6, 3)),
    101: (bottleneck_block, (3, 4, 23, 3)),
    152: (bottleneck_block, (3, 8, 36, 3)),
}


def _four_stages(depth: int, stem: Callable[[int], nn.Module]) -> Callable[..., nn.Module]:
    block, layers = _LAYERS[depth]
    return partial(ResNet, stem=stem, block=block, layers=layers)


SPECS = (
    *(
        PAPER.imagenet(f"resnet{depth}", "Table 1", _four_stages(depth, ImageNetStem), params, TORCHVISION)
        for depth, params in (
            (18, 11_689_512),
            (34, 21_797_672),
            (50, 25_557_032),
            (101, 44_549_160),
            (152, 60_192_808),
        )
    ),
    *(
        PAPER.cifar(f"resnet{depth}_cifar", "section 4.2", partial(CifarResNet, depth=depth), params, source)
        for depth, params, source in (
            (20, 269_722, _AKAMASTER),
            (32, 464_154, _AKAMASTER),
            (44, 658_586, "derived: 97,216 per step of n from ResNet-32"),
            (56, 853_018, _AKAMASTER),
            (110, 1_727_962, _AKAMASTER),
        )
    ),
    *(
        PAPER.cifar(
            f"resnet{depth}_cifar",
            "Table 1, with a 3x3 stem",
            _four_stages(depth, cifar_stem),
            params,
            "kuangliu/pytorch-cifar@49b7aa9",
        )
        for depth, params in (
            (18, 11_173_962),
            (34, 21_282_122),
            (50, 23_520_842),
            (101, 42_512_970),
            (152, 58_156_618),
        )
    ),
)
