"""ResNet: each block learns a change to its input, so that depth no longer makes training harder.

He, Zhang, Ren, Sun 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385:
section 3.3 and Table 1 (224 networks), section 4.2 (6n+2 networks for CIFAR-10).

Plain networks are the paper's control, which shows what the shortcuts do: the same without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from .layers import (
    BlockBuilder,
    Bottleneck,
    CifarStem,
    ConvBNReLU,
    ImageNetStem,
    PadShortcut,
    StagedNet,
    conv3x3,
    identity_or,
    projection,
)
from .spec import AKAMASTER, KUANGLIU, Build, Paper


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
    return BasicBlock(in_channels, width, stride, identity_or(projection, in_channels, width, stride)), width


def padded_block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """A basic block of a 6n+2 network, with a parameter-free shortcut, and its number of output channels."""
    return BasicBlock(in_channels, width, stride, identity_or(PadShortcut, in_channels, width, stride)), width


def bottleneck_block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """A bottleneck block, four times wider at its end than inside, and its number of output channels.

    Differs from the paper: the stride is in the 3x3 convolution, not in the first 1x1 (see `Bottleneck`).
    """
    return Bottleneck(in_channels, width, 4 * width, stride), 4 * width


def plain_block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """3x3, BN, ReLU, 3x3, BN, ReLU: a basic block without the addition (Figure 3, middle), and its output channels."""
    block = nn.Sequential(
        ConvBNReLU(in_channels, width, kernel_size=3, stride=stride, padding=1),
        ConvBNReLU(width, width, kernel_size=3, padding=1),
    )
    return block, width


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

    (B, 3, 32, 32) -> (B, num_classes). Shortcuts, where the block has some, have no parameters (option A).
    """

    def __init__(self, depth: int, num_classes: int, block: BlockBuilder = padded_block) -> None:
        n = (depth - 2) // 6
        super().__init__(CifarStem(16), 16, block, (16, 32, 64), (n, n, n), num_classes)


PAPER = Paper("ResNet", 2015, "He et al. 2015, arXiv:1512.03385")
PLAIN = replace(PAPER, family="Plain")

_LAYERS: dict[int, tuple[int, int, int, int]] = {  # Table 1
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def _four_stages(depth: int, block: BlockBuilder, stem: Callable[[int], nn.Module] = ImageNetStem) -> Build:
    return partial(ResNet, stem=stem, block=block, layers=_LAYERS[depth])


_STEM = "Table 1, with a 3x3 stem"
_LESS = "less its three projections with BN, 173,824"
_STEPS_OF_N = "derived: 97,216 per step of n from ResNet-32"
_AS_RESNET = "derived: as ResNet-20, whose shortcuts have no parameters"
_PYCLS = "facebookresearch/pycls@5719de6 dev/model_complexity.json, plain V-56"

SPECS = (
    PAPER.imagenet("resnet18", "Table 1", _four_stages(18, basic_block), 11_689_512),
    PAPER.imagenet("resnet34", "Table 1", _four_stages(34, basic_block), 21_797_672),
    PAPER.imagenet("resnet50", "Table 1", _four_stages(50, bottleneck_block), 25_557_032),
    PAPER.imagenet("resnet101", "Table 1", _four_stages(101, bottleneck_block), 44_549_160),
    PAPER.imagenet("resnet152", "Table 1", _four_stages(152, bottleneck_block), 60_192_808),
    PAPER.cifar("resnet20_cifar", "section 4.2", partial(CifarResNet, depth=20), 269_722, AKAMASTER),
    PAPER.cifar("resnet32_cifar", "section 4.2", partial(CifarResNet, depth=32), 464_154, AKAMASTER),
    PAPER.cifar("resnet44_cifar", "section 4.2", partial(CifarResNet, depth=44), 658_586, _STEPS_OF_N),
    PAPER.cifar("resnet56_cifar", "section 4.2", partial(CifarResNet, depth=56), 853_018, AKAMASTER),
    PAPER.cifar("resnet110_cifar", "section 4.2", partial(CifarResNet, depth=110), 1_727_962, AKAMASTER),
    PAPER.cifar("resnet18_cifar", _STEM, _four_stages(18, basic_block, cifar_stem), 11_173_962, KUANGLIU),
    PAPER.cifar("resnet34_cifar", _STEM, _four_stages(34, basic_block, cifar_stem), 21_282_122, KUANGLIU),
    PAPER.cifar("resnet50_cifar", _STEM, _four_stages(50, bottleneck_block, cifar_stem), 23_520_842, KUANGLIU),
    PAPER.cifar("resnet101_cifar", _STEM, _four_stages(101, bottleneck_block, cifar_stem), 42_512_970, KUANGLIU),
    PAPER.cifar("resnet152_cifar", _STEM, _four_stages(152, bottleneck_block, cifar_stem), 58_156_618, KUANGLIU),
    PLAIN.imagenet("plain18", "section 3.3", _four_stages(18, plain_block), 11_515_688, f"derived: ResNet-18 {_LESS}"),
    PLAIN.imagenet("plain34", "section 3.3", _four_stages(34, plain_block), 21_623_848, f"derived: ResNet-34 {_LESS}"),
    PLAIN.cifar("plain20_cifar", "section 4.2", partial(CifarResNet, depth=20, block=plain_block), 269_722, _AS_RESNET),
    PLAIN.cifar("plain56_cifar", "section 4.2", partial(CifarResNet, depth=56, block=plain_block), 853_018, _PYCLS),
)
