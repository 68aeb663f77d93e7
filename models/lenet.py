"""LeNet-5: alternate convolution and pooling, then decide with fully connected layers.

LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition",
Proceedings of the IEEE 86(11): section II.B and Figure 2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from .spec import KUANGLIU, Paper


class LeNet5(nn.Sequential):
    """5x5 conv 6, pool, 5x5 conv 16, pool, linear 120, linear 84, linear: (B, C, 32, 32) -> (B, num_classes).

    `activation` follows every convolution and every linear layer but the last; `pool` is called with the window size 2.

    Differs from the paper: this is the network of today's lectures. Pooling has no parameters (the paper's subsampling
    layers have a trained coefficient and bias per map), every map of the second convolution sees all six maps (the
    paper leaves some connections out, Table I), the tanh is not scaled, and the output is a linear layer trained with
    cross-entropy (the paper has radial basis functions). Hence 61,706 parameters, not the paper's 60,000.

    Differs from the paper: `lenet5_cifar` reads three colour channels where the paper reads grey digits, and has ReLU
    and max pooling, as LeNet-5 on CIFAR-10 is usually built; tanh and average pooling cost it several points.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        activation: Callable[[], nn.Module] = nn.Tanh,
        pool: Callable[[int], nn.Module] = nn.AvgPool2d,
    ) -> None:
        super().__init__(
            nn.Conv2d(in_channels, 6, kernel_size=5),  # (6, 28, 28)
            activation(),
            pool(2),  # (6, 14, 14)
            nn.Conv2d(6, 16, kernel_size=5),  # (16, 10, 10)
            activation(),
            pool(2),  # (16, 5, 5)
            nn.Flatten(1),
            nn.Linear(16 * 5 * 5, 120),
            activation(),
            nn.Linear(120, 84),
            activation(),
            nn.Linear(84, num_classes),
        )


PAPER = Paper("LeNet", 1998, "LeCun et al. 1998, Proceedings of the IEEE 86(11)")

_BY_LAYER = "derived: 156 + 2,416 + 48,120 + 10,164 + 850"
_COLOUR = partial(LeNet5, in_channels=3, activation=nn.ReLU, pool=nn.MaxPool2d)

SPECS = (
    PAPER.mnist("lenet5_mnist", "section II.B", partial(LeNet5, in_channels=1), 61_706, _BY_LAYER, height=32),
    PAPER.cifar("lenet5_cifar", "section II.B, with three input channels", _COLOUR, 62_006, KUANGLIU),
)
