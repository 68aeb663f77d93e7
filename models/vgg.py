"""VGG: depth from nothing but 3x3 convolutions; two of them see as far as a 5x5, three as far as a 7x7.

Simonyan, Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
arXiv:1409.1556: section 2.1 and Table 1.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from .layers import he_init
from .spec import KUANGLIU, Paper


def conv_stage(in_channels: int, width: int, depth: int, batch_norm: bool) -> list[nn.Module]:
    """`depth` times 3x3, (BN,) ReLU, then 2x2/2 max-pool."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers.append(nn.Conv2d(in_channels, width, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU(inplace=True))
        in_channels = width
    return [*layers, nn.MaxPool2d(2)]


class VGG(nn.Module):
    """Stages of `depths` 3x3 at widths 64, 128, 256, 512, 512, each ended by a max-pool, then linear layers (Table 1).

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
        depths: tuple[int, int, int, int, int],
        batch_norm: bool,
        grid_size: int,
        hidden_features: tuple[int, ...],
        num_classes: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_channels = 3
        for width, depth in zip((64, 128, 256, 512, 512), depths, strict=True):
            layers += conv_stage(in_channels, width, depth, batch_norm)
            in_channels = width
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

# Table 1: how many convolutions each stage has.
_A, _B, _D, _E = (1, 1, 2, 2, 2), (2, 2, 2, 2, 2), (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)
_AT_224 = partial(VGG, batch_norm=False, grid_size=7, hidden_features=(4096, 4096))
_BN_AT_224 = partial(VGG, batch_norm=True, grid_size=7, hidden_features=(4096, 4096))
_AT_32 = partial(VGG, batch_norm=True, grid_size=1, hidden_features=())
_ADAPTED = "Table 1, with batch norm and one linear layer"
_TWO_MORE = "derived: VGG-11 + 37,056 (64 to 64) + 147,840 (128 to 128)"

SPECS = (
    PAPER.imagenet("vgg11", "Table 1", partial(_AT_224, _A), 132_863_336),
    PAPER.imagenet("vgg13", "Table 1", partial(_AT_224, _B), 133_047_848),
    PAPER.imagenet("vgg16", "Table 1", partial(_AT_224, _D), 138_357_544),
    PAPER.imagenet("vgg19", "Table 1", partial(_AT_224, _E), 143_667_240),
    PAPER.imagenet("vgg11_bn", "Table 1, with batch norm", partial(_BN_AT_224, _A), 132_868_840),
    PAPER.imagenet("vgg13_bn", "Table 1, with batch norm", partial(_BN_AT_224, _B), 133_053_736),
    PAPER.imagenet("vgg16_bn", "Table 1, with batch norm", partial(_BN_AT_224, _D), 138_365_992),
    PAPER.imagenet("vgg19_bn", "Table 1, with batch norm", partial(_BN_AT_224, _E), 143_678_248),
    PAPER.cifar("vgg11_bn_cifar", _ADAPTED, partial(_AT_32, _A), 9_231_114, KUANGLIU),
    PAPER.cifar("vgg13_bn_cifar", _ADAPTED, partial(_AT_32, _B), 9_416_010, _TWO_MORE),
    PAPER.cifar("vgg16_bn_cifar", _ADAPTED, partial(_AT_32, _D), 14_728_266, KUANGLIU),
    PAPER.cifar("vgg19_bn_cifar", _ADAPTED, partial(_AT_32, _E), 20_040_522, KUANGLIU),
)
