"""Inception branches and auxiliary heads."""

import torch
from torch import Tensor, nn

from models import REGISTRY
from models.googlenet import AuxiliaryHead, GoogLeNetOutputs, Inception


def small_inception() -> Inception:
    return Inception(8, 2, 3, 4, 5, 6, 7, convs_for_5x5=1, bias=False)


def test_inception_concatenates_its_four_branches_in_the_paper_s_order() -> None:
    block = small_inception().eval()
    x = torch.randn(2, 8, 9, 9)
    out = block(x)
    assert out.shape == (2, 2 + 4 + 6 + 7, 9, 9)
    # 1x1 of the plain input first, 1x1 of the pooled input last.
    torch.testing.assert_close(out[:, :2], block.branch1(x))
    pooled = nn.functional.max_pool2d(x, 3, stride=1, padding=1)
    torch.testing.assert_close(out[:, -7:], block.branch4[1](pooled))


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


def test_auxiliary_heads_speak_in_training_only() -> None:
    network = REGISTRY["googlenet_aux"].build(num_classes=10)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        outputs = network.train()(images)
        assert isinstance(outputs, GoogLeNetOutputs)
        assert [tuple(out.shape) for out in outputs] == [(2, 10)] * 3
        assert isinstance(network.eval()(images), Tensor)


def test_auxiliary_heads_read_stages_4a_and_4d() -> None:
    network = REGISTRY["googlenet_aux"].build(num_classes=10).train()
    for after, first_with_gradient, first_without in (
        ("aux_logits1", "inception4a", "inception4b"),
        ("aux_logits2", "inception4d", "inception4e"),
    ):
        network.zero_grad()
        getattr(network(torch.randn(2, 3, 64, 64)), after).sum().backward()
        for name, expected in ((first_with_gradient, True), (first_without, False)):
            gradients = [p.grad is not None for p in network.get_submodule(name).parameters()]
            assert all(gradients) if expected else not any(gradients)


def test_evaluation_ignores_the_auxiliary_heads() -> None:
    with_heads = REGISTRY["googlenet_aux"].build(num_classes=10).eval()
    without = REGISTRY["googlenet"].build(num_classes=10).eval()
    weights = {k: v for k, v in with_heads.state_dict().items() if not k.startswith("aux")}
    without.load_state_dict(weights)  # strict: nothing but the heads differs
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(with_heads(images), without(images))
