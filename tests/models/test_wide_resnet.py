"""Wide ResNet: depth counts every convolution, k widens all stages, dropout acts within blocks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models import REGISTRY
from models.wide_resnet import CifarWideResNet


@pytest.mark.parametrize(("depth", "widen_factor"), [(16, 4), (16, 8), (28, 10), (40, 4)])
def test_depth_is_the_number_of_convolutions_and_k_widens_the_stages(depth: int, widen_factor: int) -> None:
    with torch.device("meta"):
        model = REGISTRY[f"wide_resnet{depth}_{widen_factor}_cifar"].build(num_classes=10)
        assert isinstance(model, CifarWideResNet)
        x = model.stem(torch.empty(1, 3, 32, 32))
    # 6n + 4: the stem, two in each of 3n blocks, and one projection per stage
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == depth
    assert x.shape[1] == 16  # the stem is not widened
    for base, size, stage in zip((16, 32, 64), (32, 16, 8), model.stages, strict=True):
        x = stage(x)
        assert x.shape == (1, base * widen_factor, size, size)


def test_dropout_is_off_unless_asked_for_and_never_in_eval_mode() -> None:
    images = torch.randn(2, 3, 16, 16)

    def twice(dropout: float, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        model = CifarWideResNet(depth=10, widen_factor=1, num_classes=10, dropout=dropout).train(train)
        with torch.no_grad():
            return model(images), model(images)

    # In training mode BN normalises by the batch, so only dropout can tell two passes apart.
    assert torch.equal(*twice(dropout=0.0, train=True))
    assert not torch.allclose(*twice(dropout=0.3, train=True))
    assert torch.equal(*twice(dropout=0.3, train=False))
    assert torch.equal(twice(dropout=0.3, train=False)[0], twice(dropout=0.0, train=False)[0])
