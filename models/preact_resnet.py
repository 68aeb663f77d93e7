"""PreAct ResNet: BN and ReLU move in front of the convolutions, so that the shortcut path is never altered.

He, Zhang, Ren, Sun 2016, "Identity Mappings in Deep Residual Networks", arXiv:1603.05027:
Figure 4e, Tables 3 and 5, and the appendix on the first and last units and on shortcuts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat

from torch import Tensor, nn

from .layers import BNReLU, CifarStem, ImageNetStem, PadShortcut, StagedNet, conv1x1, conv3x3, identity_or
from .spec import BEARPAW, KUANGLIU, OSMR, Build, Paper

# (activation, in_channels, width, stride) -> a block, and the number of its output channels.
PreActBlockBuilder = Callable[[nn.Module, int, int, int], tuple[nn.Module, int]]


class PreActBlock(nn.Module):
    """`branch(activation(x)) + shortcut`: nothing follows the addition (Figure 4e).

    A projection takes the activated input, every other shortcut takes x itself (appendix).
    """

    def __init__(self, activation: nn.Module, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.branch = branch
        self.shortcut = shortcut
        self.projects = isinstance(shortcut, nn.Conv2d)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activation(x)
        return self.branch(activated) + self.shortcut(activated if self.projects else x)


def _two_3x3(in_channels: int, width: int, stride: int) -> nn.Module:
    return nn.Sequential(conv3x3(in_channels, width, stride), BNReLU(width), conv3x3(width, width))


def padded_block(activation: nn.Module, in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """activation, 3x3, BN, ReLU, 3x3, + shortcut without parameters; and its output channels."""
    branch = _two_3x3(in_channels, width, stride)
    return PreActBlock(activation, branch, identity_or(PadShortcut, in_channels, width, stride)), width


def projected_block(activation: nn.Module, in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """activation, 3x3, BN, ReLU, 3x3, + identity or 1x1; and its output channels.

    Differs from the paper: the network of these blocks is an adaptation by kuangliu/pytorch-cifar, with four
    stages, a 3x3 stem, 1x1 projections and no activation after the last addition.
    """
    branch = _two_3x3(in_channels, width, stride)
    return PreActBlock(activation, branch, identity_or(conv1x1, in_channels, width, stride)), width


def bottleneck_block(activation: nn.Module, in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """activation, 1x1, BN, ReLU, 3x3, BN, ReLU, 1x1, + identity or 1x1; and its output channels.

    Differs from the paper: the stride is in the 3x3 convolution, as in `resnet50`, not in the first 1x1.
    """
    branch = nn.Sequential(
        conv1x1(in_channels, width),
        BNReLU(width),
        conv3x3(width, width, stride),
        BNReLU(width),
        conv1x1(width, 4 * width),
    )
    return PreActBlock(activation, branch, identity_or(conv1x1, in_channels, 4 * width, stride)), 4 * width


class PreActResNet(StagedNet):
    """Stem with BN and ReLU, stages of pre-activation blocks, BN, ReLU, global average pool, linear.

    (B, 3, H, W) -> (B, num_classes)

    The first block has no activation of its own: that of the stem lies before its two paths part (appendix).
    """

    def __init__(
        self,
        stem: Callable[[int], nn.Module],
        block: PreActBlockBuilder,
        widths: tuple[int, ...],
        layers: tuple[int, ...],
        num_classes: int,
        last_activation: Callable[[int], nn.Module] = BNReLU,
    ) -> None:
        activations: Iterator[Callable[[int], nn.Module]] = chain([nn.Identity], repeat(BNReLU))

        def build(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
            return block(next(activations)(in_channels), in_channels, width, stride)

        in_channels = widths[0]
        super().__init__(stem(in_channels), in_channels, build, widths, layers, num_classes, last_activation)


PAPER = Paper("PreAct ResNet", 2016, "He et al. 2016, arXiv:1603.05027")

_WIDTHS = (64, 128, 256, 512)
_AT_224 = partial(PreActResNet, ImageNetStem, bottleneck_block, _WIDTHS)
_AT_32 = partial(PreActResNet, CifarStem, projected_block, _WIDTHS, (2, 2, 2, 2), last_activation=nn.Identity)
_DEPTH = "Figure 4e at the depth of ResNet-50"
_LESS_BN = f"of {OSMR} less its second 64-channel BN"
_PADDED = (
    f"derived: 1,730,522 of {BEARPAW} less its two 1x1 projections (512 + 2,048), "
    "which the paper has in bottleneck networks only"
)


def _three_stages(n: int, block: PreActBlockBuilder) -> Build:
    return partial(PreActResNet, stem=CifarStem, block=block, widths=(16, 32, 64), layers=(n, n, n))


SPECS = (
    PAPER.imagenet(
        "preact_resnet50", _DEPTH, partial(_AT_224, (3, 4, 6, 3)), 25_549_352, f"derived: 25,549,480 {_LESS_BN}"
    ),
    PAPER.imagenet(
        "preact_resnet152", "Table 5", partial(_AT_224, (3, 8, 36, 3)), 60_185_128, f"derived: 60,185,256 {_LESS_BN}"
    ),
    PAPER.cifar(
        "preact_resnet18_cifar", "Figure 4e in a four-stage network with a 3x3 stem", _AT_32, 11_171_146, KUANGLIU
    ),
    PAPER.cifar("preact_resnet110_cifar", "Table 3", _three_stages(18, padded_block), 1_727_962, _PADDED),
    PAPER.cifar("preact_resnet164_cifar", "Table 3", _three_stages(18, bottleneck_block), 1_703_258, BEARPAW),
    PAPER.cifar("preact_resnet1001_cifar", "Table 3", _three_stages(111, bottleneck_block), 10_327_706, BEARPAW),
)
