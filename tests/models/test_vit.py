"""Attention and patches of the Vision Transformer against their formulas."""

import math

import pytest
import torch
from torch import nn

from models import REGISTRY
from models.vit import SelfAttention, VisionTransformer


def test_attention_is_the_explicit_softmax_formula() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(hidden_dim=12, num_heads=3).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    q, k, v = (x @ attention.in_proj.weight.T + attention.in_proj.bias).split(12, dim=-1)
    heads = []
    for head in range(3):
        part = slice(4 * head, 4 * head + 4)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(4)
        heads.append(scores.softmax(dim=-1) @ v[..., part])
    expected = attention.out_proj(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention(x), expected)


def test_training_and_evaluation_agree() -> None:
    """There is no dropout and no fast path that would change the numbers or hide the products."""
    torch.manual_seed(0)
    network = VisionTransformer(8, 4, num_layers=2, hidden_dim=8, num_heads=2, num_classes=3)
    nn.init.normal_(network.head.weight)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(network.train()(images), network.eval()(images))


def test_a_fresh_network_answers_zero() -> None:
    """The head starts at zero as in torchvision, so the first loss is exactly log(classes)."""
    network = REGISTRY["vit_tiny_cifar"].build(num_classes=10)
    with torch.no_grad():
        assert torch.equal(network(torch.randn(1, 3, 32, 32)), torch.zeros(1, 10))


@pytest.mark.parametrize(("image_size", "num_heads"), [(30, 2), (32, 3)])
def test_sizes_that_do_not_divide_are_refused(image_size: int, num_heads: int) -> None:
    with pytest.raises(ValueError, match="not divisible"):
        VisionTransformer(image_size, 4, num_layers=1, hidden_dim=8, num_heads=num_heads, num_classes=3)
