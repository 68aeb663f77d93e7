"""Layers that three or more papers use identically, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

# (in_channels, width, stride) -> a block, and the number of its output channels.
BlockBuilder = Callable[[int, int, int], tuple[nn.Module, int]]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """3x3 convolution that keeps the size (divided by `stride`); no bias: BN or an addition follows."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """1x1 convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


class ConvBNReLU(nn.Sequential):
    """conv (no bias), BN, ReLU: (B, in_channels, H, W) -> (B, out_channels, H', W')."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class BNReLU(nn.Sequential):
    """BN, ReLU: the activation of pre-activation networks (He et al. 2016), (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class GlobalAvgPool(nn.Sequential):
    """(B, C, H, W) -> (B, C): the mean over all positions (Lin et al. 2014, section 3.2)."""

    def __init__(self) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))


class ImageNetStem(nn.Sequential):
    """7x7/2 conv, BN, ReLU, 3x3/2 max-pool: (B, 3, H, W) -> (B, out_channels, H/4, W/4)."""

    def __init__(self, out_channels: int) -> None:
        super().__init__(
            *ConvBNReLU(3, out_channels, kernel_size=7, stride=2, padding=3),
            nn.MaxPool2d(3, stride=2, padding=1),
        )


class CifarStem(ConvBNReLU):
    """3x3, BN, ReLU at full resolution: (B, 3, H, W) -> (B, out_channels, H, W)."""

    def __init__(self, out_channels: int) -> None:
        super().__init__(3, out_channels, kernel_size=3, padding=1)


class Bottleneck(nn.Module):
    """1x1, BN, ReLU, 3x3, BN, ReLU, 1x1, BN, + shortcut, ReLU (He et al. 2015, Figure 5, right).

    The stride is in the 3x3 convolution ("v1.5"), not in the first 1x1 as in the paper: torchvision and
    the authors' later code do so too, and it is 4.09 instead of 3.8 GMACs for ResNet-50.
    `groups` splits the 3x3 (Xie et al. 2016, Figure 3c).
    """

    def __init__(self, in_channels: int, width: int, out_channels: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.conv1 = conv1x1(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = identity_or(projection, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + self.shortcut(x))


def identity_or(
    otherwise: Callable[[int, int, int], nn.Module], in_channels: int, out_channels: int, stride: int
) -> nn.Module:
    """A shortcut: identity where input and output agree in shape, else as (in_channels, out_channels, stride) say."""
    same = stride == 1 and in_channels == out_channels
    return nn.Identity() if same else otherwise(in_channels, out_channels, stride)


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """1x1, BN (He et al. 2015, option B)."""
    return nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


class PadShortcut(nn.Module):
    """Parameter-free shortcut: subsample, then zero-fill the new channels (He et al. 2015, option A)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = out_channels - in_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        # New channels are split evenly over both ends, as in the widely copied implementation;
        # the paper only says that they are zero.
        before = self.new_channels // 2
        return nn.functional.pad(x, (0, 0, 0, 0, before, self.new_channels - before))


class StagedNet(nn.Module):
    """Stem, stages of blocks, (last activation), global average pool, linear.

    (B, 3, H, W) -> (B, num_classes). Stage i is `layers[i]` blocks at `widths[i]`; the first block of every
    stage but the first has stride 2. `in_channels` is what the stem puts out.
    """

    def __init__(
        self,
        stem: nn.Module,
        in_channels: int,
        block: BlockBuilder,
        widths: Sequence[int],
        layers: Sequence[int],
        num_classes: int,
        last_activation: Callable[[int], nn.Module] = nn.Identity,
    ) -> None:
        super().__init__()
        self.stem = stem
        stages = []
        for stage, (width, depth) in enumerate(zip(widths, layers, strict=True)):
            blocks = []
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                built, in_channels = block(in_channels, width, stride)
                blocks.append(built)
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.last_activation = last_activation(in_channels)
        self.pool = GlobalAvgPool()
        self.fc = nn.Linear(in_channels, num_classes)
        he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.last_activation(self.stages(self.stem(x)))))


def he_init(model: nn.Module) -> None:
    """He et al. 2015 (arXiv:1502.01852): conv weights normal with fan-out variance, BN one and zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def he_init_fan_in(model: nn.Module, last_bias: float = 0.0) -> None:
    """He et al. 2015 with fan-in variance for convolutions and linear layers; the last one normal(0, 0.01).

    For ReLU networks without batch norm: the signal keeps its scale on the way forward, also through a first
    layer with a large kernel, where the fan-out variance of `he_init` would shrink it, and the small last
    layer lets the loss start near log(num_classes). Biases are zero, but for the last layer's where a ReLU
    follows it: that would otherwise close for good within the first steps.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.constant_(layer.bias, last_bias if layer is layers[-1] else 0.0)
    nn.init.normal_(layers[-1].weight, std=0.01)
