"""VGG: depth from nothing but 3x3 convolutions; two of them see as far as a 5x5, three as far as a 7x7.

Simonyan, Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
arXiv:1409.1556: section 2.1 and Table 1.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from .layers import he_init
from .spec import TORCHVISION, Paper


def conv_stage(in_channels: int, widths: tuple[int, ...], batch_norm: bool) -> list[nn.Module]:
    """3x3, (BN,) ReLU for each width, then 2x2/2 max-pool."""
    layers: list[nn.Module] = []
    for out_channels in widths:
        layers.append(nn.Conv2d(in_channels, out_channels, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
        in_channels = out_channels
    return [*layers, nn.MaxPool2d(2)]


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each ended by a max-pool, then linear layers (Table 1).

    (B, 3, H, W) -> (B, num_classes). ReLU and dropout 0.5 after each hidden linear layer; `grid_size` is
    the side of the grid that the linear layers read.

    Differs from the paper: the `_bn` variants normalise after every convolution; the paper came before
    batch norm. The convolutions keep their biases there, as in torchvision.

    Differs from the paper: weights are drawn with He's variance; the paper starts deep networks from
    trained shallow ones.

    Differs from the paper: the `_cifar` variants have one linear layer, 512 to the classes, in place of
    three; the paper has no network for 32x32.
    """

    def __init__(
        self,
        stages: tuple[tuple[int, ...], ...],
        batch_norm: bool,
        grid_size: int,
        hidden_features: tuple[int, ...],
        num_classes: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_channels = 3
        for widths in stages:
            layers += conv_stage(in_channels, widths, batch_norm)
            in_channels = widths[-1]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(grid_size)  # keeps the grid at the input size of the spec
        in_features = in_channels * grid_size**2
        head: list[nn.Module] = []
        for out_features in hidden_features:
            head += [nn.Linear(in_features, out_features), nn.ReLU(inplace=True), nn.Dropout(0.5)]
            in_features = out_features
        self.classifier = nn.Sequential(*head, nn.Linear(in_features, num_classes))
        he_init(self)
        for module in self.classifier:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)).flatten(1))


PAPER = Paper("VGG", 2014, "Simonyan and Zisserman 2014, arXiv:1409.1556")

# Table 1, columns A, B, D, E: the widths of each stage.
_STAGES = {
    11: ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2),
    13: ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2),
    16: ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    19: ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
}

SPECS = (
    *(
        PAPER.imagenet(
            f"vgg{depth}_bn" if batch_norm else f"vgg{depth}",
            "Table 1, with batch norm" if batch_norm else "Table 1",
            partial(VGG, stages=_STAGES[depth], batch_norm=batch_norm, grid_size=7, hidden_features=(4096, 4096)),
            params,
            TORCHVISION,
        )
        for depth, batch_norm, params in (
            (11, False, 132_863_336),
            (13, False, 133_047_848),
            (16, False, 138_357_544),
            (19, False, 143_667_240),
            (11, True, 132_868_840),
            (13, True, 133_053_736),
            (16, True, 138_365_992),
            (19, True, 143_678_248),
        )
    ),
    *(
        PAPER.cifar(
            f"vgg{depth}_bn_cifar",
            "Table 1, with batch norm and one linear layer",
            partial(VGG, stages=_STAGES[depth], batch_norm=True, grid_size=1, hidden_features=()),
            params,
            source,
        )
        for depth, params, source in (
            (11, 9_231_114, "kuangliu/pytorch-cifar@49b7aa9"),
            (13, 9_416_010, "derived: VGG-11 + 37,056 (64 to 64) + 147,840 (128 to 128)"),
            (16, 14_728_266, "kuangliu/pytorch-cifar@49b7aa9"),
            (19, 20_040_522, "kuangliu/pytorch-cifar@49b7aa9"),
        )
    ),
)
