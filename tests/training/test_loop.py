"""The training loop on a task that can be learned in a second."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import InceptionOutputs

from bench.config import Budget, Execution, MemoryFormat
from bench.device.execution import for_training
from bench.training import schedule
from bench.training.loop import train
from bench.training.recipes import Recipe
from bench.training.schedule import Diverged
from bench.training.step import TrainingStep, logits, training_loss
from tests.training.toy import CPU, drawing, images, network

RECIPE = Recipe("sgd", 0.1, 0.0, 16, "a test", clip_norm=1.0)


def test_it_learns_and_reports_what_it_spent() -> None:
    outcome = train(network(), RECIPE, Budget.parse("16ep"), images(), 16, forward_flops=1e3, seed=0)
    assert outcome.top1 > 0.9
    assert outcome.tested == 64
    assert outcome.spent.images == 16 * 64
    assert outcome.spent.epochs == 16
    assert outcome.spent.flops == 3e3 * 16 * 64
    assert outcome.spent.seconds > 0
    assert outcome.final_loss < outcome.curve[0].train_loss


def test_the_curve_has_a_tested_point_per_epoch_and_ends_with_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "CURVE_TEST_SHARE", 0.35)  # as many test as training images: once an epoch
    outcome = train(network(), RECIPE, Budget.parse("5ep"), images(), 16, 1e3, seed=0)
    tested = [point for point in outcome.curve if point.test_top1 is not None]
    assert [point.epoch for point in tested] == [1, 2, 3, 4, 5]
    assert tested[-1].test_top1 == outcome.top1
    assert [p.images for p in outcome.curve] == sorted({p.images for p in outcome.curve})
    assert outcome.curve[-1].images == outcome.spent.images


def test_many_short_epochs_are_not_all_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "CURVE_TEST_SHARE", 0.35)  # as many test as training images: once an epoch
    outcome = train(network(), RECIPE, Budget.parse("60ep"), images(), 16, 1e3, seed=0)
    assert 15 <= sum(point.test_top1 is not None for point in outcome.curve) <= 21


@pytest.mark.parametrize("budget", ["2ep", "0.2kimg", "0.000000001pflop"])
def test_same_seed_same_result_bit_for_bit(budget: str) -> None:
    outcomes = [train(network(), RECIPE, Budget.parse(budget), images(), 16, 1e3, seed=7) for _ in range(2)]
    assert outcomes[0].final_loss == outcomes[1].final_loss
    assert outcomes[0].top1 == outcomes[1].top1
    other = train(network(), RECIPE, Budget.parse(budget), images(), 16, 1e3, seed=8)
    assert other.final_loss != outcomes[0].final_loss


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_network_that_draws_is_repeated_bit_for_bit(memory_format: MemoryFormat) -> None:
    execution = Execution(memory_format=memory_format)

    def trained(seed: int) -> tuple[list[Tensor], list[float]]:
        net = for_training(drawing(seed), execution, CPU)
        outcome = train(net, RECIPE, Budget.parse("5ep"), images(), 16, 1e3, seed, execution)
        return [p.detach() for p in net.parameters()], [point.train_loss for point in outcome.curve]

    (weights, losses), (again, losses_again), (other, _) = trained(1), trained(1), trained(2)
    assert losses == losses_again
    assert all(map(torch.equal, weights, again))
    assert not any(map(torch.equal, weights, other))


@pytest.mark.parametrize(
    ("word", "last"),
    [("6ep", 0.01), ("0.4kimg", 0.01), ("0.0000000012pflop", 0.01), ("1s", 0.1)],  # a last step may take any time
)
def test_every_budget_ends_with_a_finished_schedule(word: str, last: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    set_rate = TrainingStep.set_rate

    def noted(step: TrainingStep, rate: float) -> None:
        rates.append(rate)
        set_rate(step, rate)

    monkeypatch.setattr(TrainingStep, "set_rate", noted)
    outcome = train(network(), RECIPE, Budget.parse(word), images(), 16, 1e3, seed=0)
    del rates[0]  # the warm-up's
    assert len(rates) == outcome.spent.images / 16
    assert 0 < rates[-1] < last * RECIPE.peak_rate
    assert max(rates) > 0.9 * RECIPE.peak_rate


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


def test_a_loss_that_is_no_number_is_said() -> None:
    wild = replace(RECIPE, peak_rate=1e30, clip_norm=None)
    with pytest.raises(Diverged, match=r"^the training loss was (inf|nan) after \d+ images$"):
        train(network(), wild, Budget.parse("20ep"), images(), 16, 1e3, seed=0)


def test_auxiliary_heads_count_three_tenths() -> None:
    main, extra, labels = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    cross_entropy = nn.functional.cross_entropy
    expected = cross_entropy(main, labels) + 0.3 * cross_entropy(extra, labels)
    output = InceptionOutputs(main, extra)  # only a network that names them has auxiliary heads
    torch.testing.assert_close(training_loss(output, labels, 3), expected)
    assert logits(output, 3) is main
    torch.testing.assert_close(training_loss(InceptionOutputs(main, None), labels, 3), cross_entropy(main, labels))


@pytest.mark.gpu
@pytest.mark.parametrize("budget", ["3ep", "1s"])
def test_it_learns_on_a_gpu(budget: str) -> None:
    device = torch.device("cuda:0")
    outcome = train(network().to(device), RECIPE, Budget.parse(budget), images(device), 16, 1e3, seed=0)
    assert outcome.top1 > 0.8
