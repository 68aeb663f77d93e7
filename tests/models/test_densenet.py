"""DenseNet: every layer adds `growth_rate` channels behind those it was given, which stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models import REGISTRY
from models.densenet import DenseLayer, DenseNet, Transition, cifar_densenet


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_layer_keeps_its_input_and_appends_growth_rate_channels(bottleneck: bool) -> None:
    torch.manual_seed(0)
    layer = DenseLayer(in_channels=5, growth_rate=3, bottleneck=bottleneck, dropout=0.0)
    x = torch.randn(2, 5, 4, 4)
    before = x.clone()
    out = layer(x)
    assert out.shape == (2, 8, 4, 4)
    assert torch.equal(out[:, :5], before)
    assert torch.equal(x, before)  # the in-place ReLU works on BN's output, not on what other layers see


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        # the input of the first layer of every block, and of the classifier
        ("densenet40_k12_cifar", [16, 160, 304, 448]),  # 16 + 12 * 12 per block, nothing taken away
        ("densenet_bc100_k12_cifar", [24, 108, 150, 342]),  # (24 + 16 * 12) / 2, (108 + 192) / 2, 150 + 192
    ],
)
def test_channels_grow_by_the_rate_and_are_halved_between_blocks(name: str, channels: list[int]) -> None:
    spec = REGISTRY[name]
    with torch.device("meta"):
        model = spec.build(num_classes=spec.num_classes).eval()
        assert isinstance(model, DenseNet)
        x = model.stem(torch.empty(1, *spec.input_size))
    seen = [x.shape[1]]
    for block in model.blocks:
        x = block(x)
        if isinstance(block, Transition):
            seen.append(x.shape[1])
    assert [*seen, x.shape[1]] == channels
    assert model.classifier.in_features == channels[-1]


@pytest.mark.parametrize(("name", "depth"), [("densenet40_k12_cifar", 40), ("densenet_bc250_k24_cifar", 250)])
def test_depth_counts_convolutions_and_the_classifier(name: str, depth: int) -> None:
    with torch.device("meta"):
        model = REGISTRY[name].build(num_classes=10)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == depth


def test_dropout_is_a_plain_argument() -> None:
    torch.manual_seed(0)
    model = cifar_densenet(depth=10, growth_rate=4, num_classes=10, dropout=0.5)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(model(images), model(images))
        model.eval()
        assert torch.equal(model(images), model(images))
