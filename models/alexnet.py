"""AlexNet: a large convolutional network, trained on GPUs with ReLU and dropout.

Krizhevsky, Sutskever, Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks",
NIPS 2012: section 3.5 and Figure 2. The layer widths are those of Krizhevsky 2014,
"One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from .layers import he_init_fan_in
from .spec import BEARPAW, Paper


class AlexNet(nn.Module):
    """11x11/4 conv 64, pool, 5x5 conv 192, pool, 3x3 conv 384, 256, 256, pool, linear layers (Figure 2).

    (B, 3, H, W) -> (B, num_classes). ReLU after every convolution and every linear layer but the last; dropout 0.5
    before each hidden linear layer. `stem_padding` pads the first convolution, `pool_kernel_size` is the window of the
    three max-pools (stride 2), `grid_size` the side of the grid that the linear layers read.

    Differs from the paper: one tower instead of two half-connected ones (arXiv:1404.5997), hence 64 instead of 96 first
    filters and 61,100,840 parameters; no local response normalisation; 224x224 input padded by 2 where the paper's
    arithmetic needs 227x227.

    Differs from the paper: weights are drawn with He's variance and zero biases, which starts without the paper's
    hand-set standard deviations.

    Differs from the paper: `alexnet_cifar` pads the first convolution by 5, pools 2x2 and has one linear layer, as
    bearpaw/pytorch-classification does; the paper's own CIFAR-10 networks are others.
    """

    def __init__(
        self,
        stem_padding: int,
        pool_kernel_size: int,
        grid_size: int,
        hidden_features: tuple[int, ...],
        num_classes: int,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=stem_padding),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(pool_kernel_size, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(pool_kernel_size, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(pool_kernel_size, stride=2),
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


PAPER = Paper("AlexNet", 2012, "Krizhevsky et al. 2012, NIPS")

_AT_224 = partial(AlexNet, stem_padding=2, pool_kernel_size=3, grid_size=6, hidden_features=(4096, 4096))
_AT_32 = partial(AlexNet, stem_padding=5, pool_kernel_size=2, grid_size=1, hidden_features=())

SPECS = (
    PAPER.imagenet("alexnet", "Figure 2; one tower as in arXiv:1404.5997", _AT_224, 61_100_840),
    PAPER.cifar("alexnet_cifar", "Figure 2, adapted to 32x32", _AT_32, 2_472_266, BEARPAW),
)
