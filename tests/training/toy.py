"""A task that can be learned in a second, and a network with everything that makes a training hard to repeat."""

import random

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.batches import Split
from bench.data.image_set import ImageSet
from bench.training.evaluation import Images

CPU = torch.device("cpu")


def images(device: torch.device = CPU, count: int = 64) -> Images:
    """Two classes of 8x8 images: in the second, the lower half is bright."""
    draw = np.random.default_rng(0)
    labels = np.arange(count) % 2
    pixels = draw.integers(0, 100, (count, 1, 8, 8), dtype=np.uint8)
    pixels[labels == 1, :, 4:] += 150
    split = Split(torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device))
    image_set = ImageSet("toy", "", "", ("a", "b"), (1, 8, 8), count, count, (0.4,), (0.3,), "", mirror_ok=True)
    return Images(image_set, split, split, (1, 8, 8))


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


class Drawing(nn.Module):
    """Convolution, batch norm, dropout, and a branch that is left out of every other step, by Python's coin."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu()
        if not self.training or random.random() < 0.5:
            x = x + self.branch(x)
        return self.fc(self.dropout(x.mean((2, 3))))


def drawing(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    random.seed(seed)
    return Drawing()
