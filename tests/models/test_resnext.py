"""ResNeXt: a grouped 3x3 is the sum of `cardinality` separate paths (Figure 3: forms a and c are equal)."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models import REGISTRY
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


@pytest.mark.parametrize(
    ("name", "groups", "widths"),
    [
        ("resnext50_32x4d", 32, [128, 256, 512, 1024]),  # Table 1
        ("resnext101_64x4d", 64, [256, 512, 1024, 2048]),
        ("resnext29_8x64d_cifar", 8, [512, 1024, 2048]),
        ("resnext29_32x4d_cifar", 32, [128, 256, 512]),
    ],
)
def test_groups_keep_their_number_and_double_in_width(name: str, groups: int, widths: list[int]) -> None:
    spec = REGISTRY[name]
    with torch.device("meta"):
        model = spec.build(num_classes=spec.num_classes)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert {conv.groups for conv in convs} == {groups}
    assert sorted({conv.out_channels for conv in convs}) == widths
