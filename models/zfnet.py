"""ZFNet: AlexNet with a finer first layer, after looking at what the layers respond to.

Zeiler, Fergus 2013, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901: section 4.1 and Figure 3.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from .layers import he_init_fan_in
from .spec import OSMR, Paper


class ZFNet(nn.Module):
    """7x7/2 conv 96, pool, 5x5/2 conv 256, pool, 3x3 conv 384, 384, 256, pool, linear layers (Figure 3).

    (B, 3, H, W) -> (B, num_classes). ReLU after every convolution and every linear layer but the last; dropout 0.5
    before each hidden linear layer; max-pools are 3x3/2 and count a last, cut-off window. The two `padding` arguments
    belong to the first two convolutions; `grid_size` is the side of the grid that the linear layers read.

    Differs from the paper: no contrast normalisation after the first two pools. It has no parameters, and later
    networks showed that it buys nothing (Simonyan and Zisserman 2014, section 2.1).

    Differs from the paper: weights are drawn with He's variance and zero biases; the paper starts all weights at 0.01
    times noise and renormalises filters while training.

    Differs from the paper: `zfnet_cifar` keeps the 7x7/2 and 5x5/2 convolutions (`alexnet_cifar` has 11x11/4) but pads
    them so that a 32x32 image survives, and has one linear layer; the paper has no network for 32x32.
    """

    def __init__(
        self,
        padding1: int,
        padding2: int,
        grid_size: int,
        hidden_features: tuple[int, ...],
        num_classes: int,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, kernel_size=7, stride=2, padding=padding1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            nn.Conv2d(96, 256, kernel_size=5, stride=2, padding=padding2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            nn.Conv2d(256, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
        )
        self.pool = nn.AdaptiveAvgPool2d(grid_size)  # keeps the grid at the input size of the spec
        in_features = 256 * grid_size**2
        layers: list[nn.Module] = []
        for out_features in hidden_features:
            layers += [nn.Dropout(0.5), nn.Linear(in_features, out_features), nn.ReLU(inplace=True)]
            in_features = out_features
        self.classifier = nn.Sequential(*layers, nn.Linear(in_features, num_classes))
        he_init_fan_in(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)).flatten(1))


PAPER = Paper("ZFNet", 2013, "Zeiler and Fergus 2013, arXiv:1311.2901")

_AT_224 = partial(ZFNet, padding1=1, padding2=0, grid_size=6, hidden_features=(4096, 4096))
_AT_32 = partial(ZFNet, padding1=3, padding2=2, grid_size=1, hidden_features=())
_CONVOLUTIONS = "14,208 + 614,656 + 885,120 + 1,327,488 + 884,992"
_LINEAR = "37,752,832 + 16,781,312 + 4,097,000"
_COUNTED = f"{OSMR}; {_CONVOLUTIONS} in convolutions, {_LINEAR} in linear layers"

SPECS = (
    PAPER.imagenet("zfnet", "Figure 3", _AT_224, 62_357_608, _COUNTED),
    PAPER.cifar("zfnet_cifar", "Figure 3, adapted to 32x32", _AT_32, 3_729_034, f"derived: {_CONVOLUTIONS} + 2,570"),
)
