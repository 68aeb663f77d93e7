"""Stochastic depth: whole residual blocks are dropped at random in training and all are kept at test time.

Huang, Sun, Liu, Sedra, Weinberger 2016, "Deep Networks with Stochastic Depth", arXiv:1603.09382:
section 3 (rule), section 4 (ResNet-110 on CIFAR-10).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from .layers import CifarStem, PadShortcut, StagedNet, conv3x3
from .spec import AKAMASTER, Paper


class StochasticDepthBlock(nn.Module):
    """3x3, BN, ReLU, 3x3, BN; in training ReLU(b * branch + shortcut), b one draw per batch (Equation 2).

    A dropped branch (b = 0) is not computed and its parameters get no gradient. In eval mode the branch is
    always there, times `survival_prob` (Equation 5). The draw comes from torch's CPU generator, so that
    `torch.manual_seed` repeats it and no GPU has to be waited for.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, shortcut: nn.Module, survival_prob: float
    ) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv3x3(in_channels, out_channels, stride),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            conv3x3(out_channels, out_channels),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = shortcut
        self.relu = nn.ReLU(inplace=True)
        self.survival_prob = survival_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.relu(self.survival_prob * self.branch(x) + self.shortcut(x))
        if torch.rand((), device="cpu").item() < self.survival_prob:
            return self.relu(self.branch(x) + self.shortcut(x))
        return self.shortcut(x)  # a ReLU would change nothing: x comes out of one


def linear_decay(num_blocks: int, last: float) -> list[float]:
    """p_l = 1 - l / L * (1 - p_L) for the blocks l = 1 ... L (Equation 4)."""
    return [1 - block / num_blocks * (1 - last) for block in range(1, num_blocks + 1)]


class CifarStochasticDepthResNet(StagedNet):
    """ResNet-`depth` for CIFAR-10 whose blocks survive with a probability that falls to `survival_prob`.

    (B, 3, 32, 32) -> (B, num_classes). The fall is linear (see `linear_decay`). The stem and every
    shortcut are always kept; where the shape changes the shortcut is a 2x2 average pool and zeros for the new
    channels (section 4), without parameters.
    """

    def __init__(self, depth: int, survival_prob: float, num_classes: int) -> None:
        n = (depth - 2) // 6
        survival_probs = iter(linear_decay(3 * n, survival_prob))

        def block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
            shortcut: nn.Module = nn.Identity()
            if stride != 1:
                shortcut = nn.Sequential(nn.AvgPool2d(stride), PadShortcut(in_channels, width, stride=1))
            return StochasticDepthBlock(in_channels, width, stride, shortcut, next(survival_probs)), width

        super().__init__(CifarStem(16), 16, block, (16, 32, 64), (n, n, n), num_classes)


PAPER = Paper("Stochastic Depth", 2016, "Huang et al. 2016, arXiv:1603.09382")

_DEPTH_110 = partial(CifarStochasticDepthResNet, depth=110, survival_prob=0.5)
_AS_RESNET = f"as ResNet-110, {AKAMASTER}: dropping adds no parameters"

SPECS = (PAPER.cifar("stochastic_depth_resnet110_cifar", "section 4", _DEPTH_110, 1_727_962, _AS_RESNET),)
