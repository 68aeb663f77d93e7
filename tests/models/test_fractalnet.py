"""The fractal expansion rule, and what drop-path draws."""

import pytest
import torch
from torch import Tensor, nn

from models.fractalnet import ConvUnit, FractalBlock, FractalNet, draw_join_weights, join_inputs

# Two blocks of three columns: at level 2 the two longest columns meet, at level 4 all three.
IS_INPUT = torch.tensor([[[True, True, False], [True, True, True]]] * 2)
COLUMN_0, COLUMN_1, COLUMN_2 = torch.eye(3)


def tiny(columns: int = 3) -> FractalNet:
    return FractalNet(channels=(4, 6), columns=columns, stem=None, num_classes=5, dropout=(0.0, 0.0))


def draw_many(count: int, local_drop_prob: float, global_prob: float) -> Tensor:
    """(count, blocks, joins, columns)."""
    torch.manual_seed(0)
    return torch.stack([draw_join_weights(IS_INPUT, local_drop_prob, global_prob) for _ in range(count)])


def test_columns_meet_where_their_lengths_divide() -> None:
    assert join_inputs(1) == (1,)
    assert join_inputs(3) == (1, 2, 1, 3)
    assert join_inputs(4) == (1, 2, 1, 3, 1, 2, 1, 4)


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_a_block_has_2_to_the_columns_less_1_convolutions(columns: int) -> None:
    block = FractalBlock(3, 4, columns, dropout=0.0)
    assert sum(isinstance(module, nn.Conv2d) for module in block.modules()) == 2**columns - 1


def test_evaluation_is_the_expansion_rule_with_plain_means() -> None:
    """f1(x) = conv(x); f2 = mean(conv(conv(x)), conv(x)); in f3 all three columns share the last mean."""
    block = FractalBlock(3, 4, columns=3, dropout=0.0).eval()
    longest, middle, shortest = ([*column.children()] for column in block.columns)
    x = torch.randn(2, 3, 6, 6)
    first_join = (longest[1](longest[0](x)) + middle[0](x)) / 2
    expected = (longest[3](longest[2](first_join)) + middle[1](first_join) + shortest[0](x)) / 3
    torch.testing.assert_close(block(x, None), expected)


def test_evaluation_is_deterministic_and_ignores_the_generator() -> None:
    network = tiny().eval()
    images = torch.randn(2, 3, 8, 8)
    before = torch.get_rng_state()
    assert torch.equal(network(images), network(images))
    assert torch.equal(torch.get_rng_state(), before)


def test_training_is_reproducible_under_a_seed() -> None:
    network = tiny().train()
    images = torch.randn(4, 3, 8, 8)
    outputs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        outputs.append(network(images))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("local_drop_prob", [0.15, 0.9, 1.0])
def test_every_join_keeps_at_least_one_input_and_averages_the_kept(local_drop_prob: float) -> None:
    weights = draw_many(300, local_drop_prob, global_prob=0.5)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(300, 2, 2))
    kept = weights > 0
    assert not (kept & ~IS_INPUT).any()
    averaged = kept / kept.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(weights, averaged)


def test_local_sampling_drops_each_input_with_its_probability() -> None:
    """P(input kept) = 1 - p + p^n / n for n inputs: the last term saves one where all would be dropped."""
    p, count = 0.4, 4000
    kept = (draw_many(count, p, global_prob=0.0) > 0).double().mean(dim=(0, 1))  # (joins, columns)
    for join, n in ((0, 2), (1, 3)):
        expected = 1 - p + p**n / n
        # Two blocks make 8,000 draws, a standard error of at most 0.0056.
        torch.testing.assert_close(kept[join, :n], torch.full((n,), expected).double(), atol=0.025, rtol=0)


def test_local_sampling_treats_joins_independently() -> None:
    kept = draw_many(2000, 0.5, global_prob=0.0)[:, :, 1, 0] > 0  # the last join of either block
    together = (kept[:, 0] & kept[:, 1]).double().mean()
    apart = kept[:, 0].double().mean() * kept[:, 1].double().mean()
    assert abs(together - apart) < 0.05


def test_global_sampling_keeps_one_column_of_the_whole_network_equally_often() -> None:
    last_joins = draw_many(3000, 0.15, global_prob=1.0)[:, :, 1]  # (count, blocks, columns)
    assert torch.equal(last_joins[:, 0], last_joins[:, 1])
    assert torch.equal(last_joins.amax(dim=-1), torch.ones(3000, 2))
    torch.testing.assert_close(last_joins[:, 0].mean(dim=0), torch.full((3,), 1 / 3), atol=0.04, rtol=0)


def test_half_of_the_batches_are_sampled_globally() -> None:
    """Without local dropping, a batch is global exactly if its last join keeps one input."""
    last_join = draw_many(2000, 0.0, global_prob=0.5)[:, 0, 1]
    assert abs((last_join.amax(dim=-1) == 1).double().mean() - 0.5) < 0.05


@pytest.mark.parametrize(("column", "depth"), [(COLUMN_0, 4), (COLUMN_1, 2), (COLUMN_2, 1)])
def test_a_single_column_is_a_plain_chain(column: Tensor, depth: int) -> None:
    block = FractalBlock(3, 4, columns=3, dropout=0.0).eval()
    x = torch.randn(1, 3, 6, 6)
    chain = next(c for c in block.columns if len([*c.children()]) == depth)
    expected = x
    for unit in chain.children():
        expected = unit(expected)
    inner = column if column[2] == 0 else torch.tensor([0.5, 0.5, 0.0])
    torch.testing.assert_close(block(x, torch.stack((inner, column))), expected)


def test_dropped_columns_get_no_gradient() -> None:
    block = FractalBlock(3, 4, columns=3, dropout=0.0)
    block(torch.randn(2, 3, 6, 6), torch.stack((COLUMN_1, COLUMN_1))).square().sum().backward()
    for index, column in enumerate(block.columns):
        moved = [bool(p.grad is not None and p.grad.any()) for p in column.parameters()]
        assert any(moved) == (index == 1)


def test_dropout_rises_block_by_block() -> None:
    network = FractalNet(channels=(2,) * 5, columns=2, stem=None, num_classes=3)
    rates = [{m.p for m in block.modules() if isinstance(m, nn.Dropout)} for block in network.blocks]
    assert rates == [{0.0}, {0.1}, {0.2}, {0.3}, {0.4}]


def test_a_unit_is_convolution_dropout_batch_norm_relu() -> None:
    assert [type(layer) for layer in ConvUnit(3, 4, 0.1)] == [nn.Conv2d, nn.Dropout, nn.BatchNorm2d, nn.ReLU]
