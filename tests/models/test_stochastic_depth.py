"""Stochastic depth: which blocks are dropped, how often, at what cost, and what eval mode makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from models import REGISTRY
from models.resnet import BasicBlock
from models.stochastic_depth import CifarStochasticDepthResNet, StochasticDepthBlock, linear_decay


def blocks_of(model: nn.Module) -> list[StochasticDepthBlock]:
    return [module for module in model.modules() if isinstance(module, StochasticDepthBlock)]


@contextmanager
def counted_branches(model: nn.Module) -> Iterator[list[int]]:
    """How often each block's branch was really computed."""
    blocks = blocks_of(model)
    counts = [0] * len(blocks)

    def count(index: int, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        counts[index] += 1

    hooks = [block.branch.register_forward_pre_hook(partial(count, i)) for i, block in enumerate(blocks)]
    yield counts
    for hook in hooks:
        hook.remove()


def test_survival_falls_linearly_from_almost_one_to_the_last_blocks() -> None:
    probs = linear_decay(54, last=0.5)
    assert probs[0] == pytest.approx(1 - 0.5 / 54)  # 0.99, not 1: p_0 = 1 belongs to the input (section 3)
    assert probs[26] == pytest.approx(0.75)
    assert probs[-1] == 0.5
    # The paper's expected number of blocks in training: (3L - 1) / 4, about 40 of 54.
    assert sum(probs) == pytest.approx((3 * 54 - 1) / 4)


def test_the_networks_54_blocks_follow_the_rule_in_order() -> None:
    with torch.device("meta"):
        model = REGISTRY["stochastic_depth_resnet110_cifar"].build(num_classes=10)
    assert [block.survival_prob for block in blocks_of(model)] == linear_decay(54, last=0.5)


def test_blocks_are_kept_as_often_as_their_probability_says() -> None:
    torch.manual_seed(0)
    model = CifarStochasticDepthResNet(depth=8, survival_prob=0.5, num_classes=10)
    images = torch.randn(2, 3, 4, 4)
    passes = 400
    with torch.no_grad(), counted_branches(model) as counts:
        for _ in range(passes):
            model(images)
    for kept, block in zip(counts, blocks_of(model), strict=True):
        p = block.survival_prob
        assert abs(kept / passes - p) < 4 * (p * (1 - p) / passes) ** 0.5


def test_the_seed_decides_and_a_draw_is_for_the_whole_batch() -> None:
    model = CifarStochasticDepthResNet(depth=56, survival_prob=0.5, num_classes=10)

    def kept(seed: int, batch: int) -> list[int]:
        torch.manual_seed(seed)
        images = torch.zeros(batch, 3, 8, 8)
        with torch.no_grad(), counted_branches(model) as counts:
            model(images)
        return counts

    assert kept(0, batch=1) == kept(0, batch=5)
    assert kept(0, batch=1) != kept(1, batch=1)
    assert set(kept(0, batch=1)) == {0, 1}


def test_the_draw_needs_no_number_from_the_device() -> None:
    with torch.device("meta"):  # where reading any number is an error
        model = CifarStochasticDepthResNet(depth=20, survival_prob=0.5, num_classes=10)
        assert model.train()(torch.empty(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_dropped_block_is_its_shortcut_and_leaves_no_gradient(stride: int) -> None:
    block = StochasticDepthBlock(3, 3, stride, nn.AvgPool2d(stride), survival_prob=0.0)
    x = torch.rand(2, 3, 4, 4, requires_grad=True)
    with counted_branches(block) as counts:
        out = block(x)
    assert counts == [0]
    torch.testing.assert_close(out, nn.functional.avg_pool2d(x, stride))
    out.sum().backward()
    assert all(p.grad is None for p in block.parameters())
    assert x.grad is not None


def test_a_transition_averages_and_adds_empty_channels_even_when_its_block_is_dropped() -> None:
    model = CifarStochasticDepthResNet(depth=8, survival_prob=0.5, num_classes=10)
    transition = blocks_of(model)[1]
    transition.survival_prob = 0.0
    x = torch.rand(1, 16, 4, 4)
    out = transition(x)
    assert out.shape == (1, 32, 2, 2)
    occupied = out.abs().sum(dim=(0, 2, 3)) > 0
    assert occupied.sum() == 16
    torch.testing.assert_close(out[:, occupied], nn.functional.avg_pool2d(x, 2))


@pytest.mark.parametrize("train", [True, False])
def test_a_block_that_always_survives_is_a_residual_block(train: bool) -> None:
    torch.manual_seed(0)
    ours = StochasticDepthBlock(4, 4, 1, nn.Identity(), survival_prob=1.0).train(train)
    residual = BasicBlock(4, 4, 1, nn.Identity()).train(train)
    with torch.no_grad():
        for a, b in zip(ours.parameters(), residual.parameters(), strict=True):
            b.copy_(a)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(ours(x), residual(x))


def test_eval_mode_keeps_every_block_and_scales_its_branch() -> None:
    torch.manual_seed(0)
    block = StochasticDepthBlock(4, 4, 1, nn.Identity(), survival_prob=0.3).eval()
    x = torch.randn(2, 4, 5, 5)
    state = torch.get_rng_state()
    torch.testing.assert_close(block(x), torch.relu(x + 0.3 * block.branch(x)))  # Equation 5
    assert torch.equal(torch.get_rng_state(), state)  # evaluating does not shift later training
