"""ResNet and its control: sizes of Table 1, the parameter-free shortcut, and plain networks without shortcuts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models import REGISTRY
from models.layers import PadShortcut, identity_or, projection
from models.resnet import BasicBlock


def shapes(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in model.parameters()]


def test_option_a_keeps_every_second_pixel_and_adds_empty_channels() -> None:
    x = torch.arange(1.0, 33.0).reshape(1, 2, 4, 4)
    out = PadShortcut(2, 4, stride=2)(x)
    empty = [[0.0, 0.0], [0.0, 0.0]]
    expected = [empty, [[1.0, 3.0], [9.0, 11.0]], [[17.0, 19.0], [25.0, 27.0]], empty]
    assert torch.equal(out, torch.tensor([expected]))


def test_a_shortcut_between_equal_shapes_is_the_identity() -> None:
    assert isinstance(identity_or(projection, 16, 16, 1), nn.Identity)
    for in_channels, out_channels, stride in ((16, 32, 1), (16, 16, 2)):
        assert isinstance(identity_or(PadShortcut, in_channels, out_channels, stride), PadShortcut)


def test_a_block_whose_branch_is_zero_passes_what_is_positive() -> None:
    block = BasicBlock(3, 3, 1, nn.Identity()).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(block(x), x.clamp(min=0))


@pytest.mark.parametrize("depth", [20, 56])
def test_a_plain_network_is_the_residual_one_without_its_additions(depth: int) -> None:
    torch.manual_seed(0)
    plain = REGISTRY[f"plain{depth}_cifar"].build(num_classes=10)
    residual = REGISTRY[f"resnet{depth}_cifar"].build(num_classes=10)
    assert shapes(plain) == shapes(residual)
    with torch.no_grad():
        for ours, theirs in zip(plain.parameters(), residual.parameters(), strict=True):
            ours.copy_(theirs)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(plain.eval()(images), residual.eval()(images))
        for block in residual.modules():
            if isinstance(block, BasicBlock):
                block.shortcut = Zero()
        torch.testing.assert_close(plain(images), residual(images))


class Zero(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(())
