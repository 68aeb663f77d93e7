"""ResNeXt: a grouped 3x3 is the sum of `cardinality` separate paths (Figure 3: forms a and c are equal)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from models.layers import Bottleneck


def test_a_grouped_bottleneck_is_the_sum_of_its_paths() -> None:
    torch.manual_seed(0)
    cardinality, path = 4, 3
    block = Bottleneck(6, cardinality * path, 6, stride=1, groups=cardinality).double().eval()
    for norm in (block.bn1, block.bn2, block.bn3):
        norm.eps = 1e-12  # with mean 0 and variance 1 a batch norm is then the identity
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64)

    paths = torch.zeros_like(x)
    for c in range(cardinality):
        own = slice(c * path, (c + 1) * path)
        out = F.relu(F.conv2d(x, block.conv1.weight[own]))
        out = F.relu(F.conv2d(out, block.conv2.weight[own], padding=1))
        paths += F.conv2d(out, block.conv3.weight[:, own])
    torch.testing.assert_close(block(x), F.relu(x + paths))
