"""The training loop on a task that can be learned in a second."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.config import Budget
from bench.data.batches import Split
from bench.data.image_set import ImageSet
from bench.training.loop import SETTLING_BATCHES, Diverged, Images, evaluate, settle_batch_norm, train
from bench.training.loss import logits, training_loss
from bench.training.recipes import DEFAULT_RECIPE, RECIPES, Recipe, make_optimizer, recipe_for
from models import REGISTRY

RECIPE = Recipe("sgd", 0.1, 0.0, 16, "a test", clip_norm=1.0)
CPU = torch.device("cpu")


def images(device: torch.device = CPU, count: int = 64) -> Images:
    """Two classes of 8x8 images: in the second, the lower half is bright."""
    draw = np.random.default_rng(0)
    labels = np.arange(count) % 2
    pixels = draw.integers(0, 100, (count, 1, 8, 8), dtype=np.uint8)
    pixels[labels == 1, :, 4:] += 150
    split = Split(torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device))
    image_set = ImageSet("toy", "", "", ("a", "b"), (1, 8, 8), count, count, (0.4,), (0.3,), "", mirror_ok=True)
    return Images(image_set, split, split, (1, 8, 8))


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


def test_it_learns_and_reports_what_it_spent() -> None:
    outcome = train(network(), RECIPE, Budget.parse("16ep"), images(), 16, forward_flops=1e3, seed=0)
    assert outcome.top1 > 0.9
    assert outcome.tested == 64
    assert outcome.spent.images == 16 * 64
    assert outcome.spent.epochs == 16
    assert outcome.spent.flops == 3e3 * 16 * 64
    assert outcome.spent.seconds > 0
    assert outcome.final_loss < outcome.curve[0].train_loss


def test_the_curve_has_a_tested_point_per_epoch_and_ends_with_the_result() -> None:
    outcome = train(network(), RECIPE, Budget.parse("5ep"), images(), 16, 1e3, seed=0)
    tested = [point for point in outcome.curve if point.test_top1 is not None]
    assert [point.epoch for point in tested] == [1, 2, 3, 4, 5]
    assert tested[-1].test_top1 == outcome.top1
    assert [p.images for p in outcome.curve] == sorted({p.images for p in outcome.curve})
    assert outcome.curve[-1].images == outcome.spent.images


def test_many_short_epochs_are_not_all_tested() -> None:
    outcome = train(network(), RECIPE, Budget.parse("60ep"), images(), 16, 1e3, seed=0)
    assert 15 <= sum(point.test_top1 is not None for point in outcome.curve) <= 21


@pytest.mark.parametrize("budget", ["2ep", "0.2kimg", "0.000000001pflop"])
def test_same_seed_same_result_bit_for_bit(budget: str) -> None:
    outcomes = [train(network(), RECIPE, Budget.parse(budget), images(), 16, 1e3, seed=7) for _ in range(2)]
    assert outcomes[0].final_loss == outcomes[1].final_loss
    assert outcomes[0].top1 == outcomes[1].top1
    other = train(network(), RECIPE, Budget.parse(budget), images(), 16, 1e3, seed=8)
    assert other.final_loss != outcomes[0].final_loss


def test_a_budget_in_seconds_is_kept() -> None:
    outcome = train(network(), RECIPE, Budget.parse("0.5s"), images(), 16, 1e3, seed=0)
    assert 0.3 < outcome.spent.seconds < 0.7
    assert outcome.spent.images % 16 == 0


def test_warm_up_leaves_no_trace() -> None:
    """With a rate of zero nothing may change but the statistics of batch norm, and no random state."""
    still = replace(RECIPE, peak_rate=0.0)
    net = network()
    before = {name: value.clone() for name, value in net.named_parameters()}
    state = torch.get_rng_state()
    train(net, still, Budget.parse("0.016kimg"), images(), 16, 1e3, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in net.named_parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_batch_norm_is_settled_to_the_mean_over_training_batches() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(4, momentum=0.25))
    batches = [(torch.randn(32, 1, 2, 2) + shift, torch.zeros(32)) for shift in range(SETTLING_BATCHES + 3)]
    settle_batch_norm(net, iter(batches))
    norm = net[2]
    assert isinstance(norm, nn.BatchNorm1d)
    used = torch.stack([x.flatten(1) for x, _ in batches[:SETTLING_BATCHES]])  # as tested: nothing is dropped
    torch.testing.assert_close(norm.running_mean, used.mean(1).mean(0))
    torch.testing.assert_close(norm.running_var, used.var(1).mean(0))
    assert norm.momentum == 0.25
    assert not net[0].training


def test_a_loss_that_is_no_number_is_said() -> None:
    wild = replace(RECIPE, peak_rate=1e30, clip_norm=None)
    with pytest.raises(Diverged, match=r"after \d+ images"):
        train(network(), wild, Budget.parse("20ep"), images(), 16, 1e3, seed=0)


def test_evaluation_counts_right_answers() -> None:
    class BrightBelow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            bright = x[:, :, 4:].mean((1, 2, 3)) > x[:, :, :4].mean((1, 2, 3)) + 0.5
            return torch.stack([~bright, bright], 1).float()

    assert evaluate(BrightBelow(), images()) == (1.0, 64)


def test_auxiliary_heads_count_three_tenths() -> None:
    main, extra, labels = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    cross_entropy = nn.functional.cross_entropy
    expected = cross_entropy(main, labels) + 0.3 * cross_entropy(extra, labels)
    torch.testing.assert_close(training_loss((main, extra), labels), expected)
    assert logits((main, extra)) is main


def test_every_family_of_the_registry_has_its_recipe() -> None:
    assert {spec.family for spec in REGISTRY.values()} <= set(RECIPES)
    assert all(recipe.source for recipe in RECIPES.values())
    assert recipe_for("somebody's own") is DEFAULT_RECIPE


def test_rates_follow_the_batch_size() -> None:
    assert replace(RECIPE, optimizer="sgd", peak_rate=0.1, batch_size=128).rate_at(32) == pytest.approx(0.025)
    assert replace(RECIPE, optimizer="adam", peak_rate=1e-3, batch_size=128).rate_at(32) == pytest.approx(5e-4)


def test_adamw_leaves_norms_and_biases_alone() -> None:
    optimizer = make_optimizer(DEFAULT_RECIPE, network().parameters(), 1e-3)
    decayed, spared = optimizer.param_groups
    assert {p.dim() for p in decayed["params"]} == {2}
    assert {p.dim() for p in spared["params"]} == {1}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)


@pytest.mark.gpu
@pytest.mark.parametrize("budget", ["3ep", "1s"])
def test_it_learns_on_a_gpu(budget: str) -> None:
    device = torch.device("cuda:0")
    outcome = train(network().to(device), RECIPE, Budget.parse(budget), images(device), 16, 1e3, seed=0)
    assert outcome.top1 > 0.8
