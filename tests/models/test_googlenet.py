"""What test_torchvision.py does not compare: a branch of which torchvision has another form, and a pool at 14x14."""

import torch
from torch import nn

from models.googlenet import AuxiliaryHead, Inception


def test_inception_5x5_branch_sees_as_far_as_its_convolutions() -> None:
    """One 3x3 sees one pixel to each side, two see two: as far as the paper's 5x5."""
    for convolutions, reach in ((1, 1), (2, 2)):
        block = Inception(1, 1, 1, 1, 1, 1, 1, convs_for_5x5=convolutions, bias=True).eval()
        for module in block.branch3.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.ones_(module.weight)
        x = torch.zeros(1, 1, 11, 11)
        x[0, 0, 5, 5] = 1.0
        nonzero = (block.branch3(x) - block.branch3(torch.zeros_like(x)))[0, 0].nonzero()
        assert nonzero.min() == 5 - reach
        assert nonzero.max() == 5 + reach


def test_auxiliary_head_averages_14x14_to_4x4_before_its_1x1() -> None:
    head = AuxiliaryHead(6, 10).eval()
    x = torch.randn(1, 6, 14, 14)
    grid = head.pool(x)
    assert grid.shape == (1, 6, 4, 4)
    torch.testing.assert_close(grid[0, 2, 0, 0], x[0, 2, :4, :4].mean())  # 14 / 4 = 3.5, rounded outwards
