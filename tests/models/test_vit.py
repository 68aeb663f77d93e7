"""Attention and patches of the Vision Transformer against their formulas."""

import math

import pytest
import torch
from torch import nn

from models import REGISTRY
from models.vit import EncoderBlock, SelfAttention, VisionTransformer


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


def test_attention_equals_torch_s_with_the_same_weights() -> None:
    torch.manual_seed(0)
    ours = SelfAttention(hidden_dim=16, num_heads=4)
    theirs = nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.copy_(other)
    x = torch.randn(3, 7, 16)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


def test_training_and_evaluation_agree() -> None:
    """There is no dropout and no fast path that would change the numbers or hide the products."""
    torch.manual_seed(0)
    network = VisionTransformer(8, 4, num_layers=2, hidden_dim=8, num_heads=2, num_classes=3)
    nn.init.normal_(network.head.weight)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(network.train()(images), network.eval()(images))


def test_embedding_is_a_linear_map_of_each_patch() -> None:
    """Equation 1: flattened patches times a matrix; the convolution is that matrix product."""
    network = VisionTransformer(8, 4, num_layers=1, hidden_dim=6, num_heads=2, num_classes=3)
    images = torch.randn(2, 3, 8, 8)
    patches = nn.functional.unfold(images, kernel_size=4, stride=4).transpose(1, 2)  # (B, 4, 48)
    expected = nn.functional.linear(patches, network.conv_proj.weight.flatten(1), network.conv_proj.bias)
    torch.testing.assert_close(network.conv_proj(images).flatten(2).transpose(1, 2), expected)


def test_without_positions_the_order_of_patches_does_not_matter() -> None:
    block = EncoderBlock(hidden_dim=8, num_heads=2, mlp_dim=16)
    tokens = torch.randn(1, 6, 8)
    order = torch.tensor([0, 3, 5, 1, 2, 4])
    torch.testing.assert_close(block(tokens)[:, order], block(tokens[:, order]))


def test_position_embedding_tells_patches_apart() -> None:
    torch.manual_seed(0)
    network = VisionTransformer(8, 4, num_layers=1, hidden_dim=8, num_heads=2, num_classes=3)
    nn.init.normal_(network.head.weight)
    images = torch.randn(1, 3, 8, 8)
    mirrored_patches = torch.cat((images[..., 4:], images[..., :4]), dim=-1)
    assert not torch.allclose(network(images), network(mirrored_patches))


def test_a_fresh_network_answers_zero() -> None:
    """The head starts at zero as in torchvision, so the first loss is exactly log(classes)."""
    network = REGISTRY["vit_tiny_cifar"].build(num_classes=10)
    with torch.no_grad():
        assert torch.equal(network(torch.randn(1, 3, 32, 32)), torch.zeros(1, 10))


@pytest.mark.parametrize(("image_size", "num_heads"), [(30, 2), (32, 3)])
def test_sizes_that_do_not_divide_are_refused(image_size: int, num_heads: int) -> None:
    with pytest.raises(ValueError, match="not divisible"):
        VisionTransformer(image_size, 4, num_layers=1, hidden_dim=8, num_heads=num_heads, num_classes=3)
