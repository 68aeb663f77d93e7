"""MNIST CNN: the small network of an introductory tutorial; there is no paper.

Three blocks of 5x5 convolutions that keep the size, two of them pooled, and one linear layer.
"""

from __future__ import annotations

from torch import nn

from .spec import Paper


class MnistCNN(nn.Sequential):
    """5x5 conv 16, pool, 5x5 conv 32 twice, pool, 5x5 conv 64, linear: (B, 1, 28, 28) -> (B, num_classes).

    ReLU after every convolution; every convolution pads by 2.

    Differs from the paper: there is no paper. The tutorial's code and its text disagree; this is the network that its
    text and its layer shapes describe: two convolutions in the second block, 64 * 7 * 7 inputs to the linear layer.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(
            nn.Conv2d(1, 16, kernel_size=5, padding=2),  # (16, 28, 28)
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),  # (16, 14, 14)
            nn.Conv2d(16, 32, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, kernel_size=5, padding=2),  # (32, 14, 14)
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),  # (32, 7, 7)
            nn.Conv2d(32, 64, kernel_size=5, padding=2),  # (64, 7, 7)
            nn.ReLU(inplace=True),
            nn.Flatten(1),
            nn.Linear(64 * 7 * 7, num_classes),
        )


PAPER = Paper("MNIST CNN", 2024, "tutorial")

SPECS = (PAPER.mnist("cnn_mnist", "no paper", MnistCNN, 121_514, "derived: 416 + 12,832 + 25,632 + 51,264 + 31,370"),)
