"""That the loop does what a recipe says: schedule, curve, augmentation, statistics of batch norm."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.config import Budget
from bench.training.evaluation import Images
from bench.training.loop import train
from bench.training.recipes import Recipe
from bench.training.step import TrainingStep
from tests.training.toy import images, network

RECIPE = Recipe("sgd", 0.1, 0.0, 16, "a test", crop_padding=0, flip=False)


def trained(recipe: Recipe, budget: str, on: Images | None = None) -> tuple[nn.Module, list[int]]:
    """The network, and after how many images its curve has points."""
    net = network()
    outcome = train(net, recipe, Budget.parse(budget), on or images(), recipe.batch_size, 1e3, seed=0)
    return net, [point.images for point in outcome.curve]


def test_a_constant_rate_without_warm_up_is_the_same_in_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    set_rate = TrainingStep.set_rate

    def recorded(step: TrainingStep, rate: float) -> None:
        rates.append(rate)
        set_rate(step, rate)

    monkeypatch.setattr(TrainingStep, "set_rate", recorded)
    trained(replace(RECIPE, schedule="constant", warmup=0.0), "2ep")
    assert rates[-8:] == [0.1] * 8
    assert all(rate < 1e-5 for rate in rates[:-8])  # one-time costs are paid before


def test_points_of_the_curve_come_as_often_as_the_recipe_says() -> None:
    many = images(count=640)  # 40 steps: a twentieth is 2
    _, usual = trained(RECIPE, "1ep", many)
    _, often = trained(replace(RECIPE, curve_every=7), "1ep", many)
    assert usual == [32 * n for n in range(1, 21)]
    assert often == sorted({*usual, *(112 * n for n in range(1, 6))})


@pytest.mark.parametrize("settled", [True, False])
def test_statistics_are_those_of_training_unless_they_are_settled(settled: bool) -> None:
    still = replace(RECIPE, peak_rate=0.0, settle_batch_norm=settled)
    net, _ = trained(still, "1ep")
    norm = net[2]  # type: ignore[index]
    steps = norm.num_batches_tracked.item()
    assert steps == (8 if settled else 4)  # the batches of settling, or the steps of one epoch


def test_without_crops_and_flips_every_image_is_seen_as_it_is() -> None:
    """Four epochs over 16 images show those, and the random ones on which one-time costs are paid."""
    seen: set[tuple[float, ...]] = set()

    class Watching(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.update(map(tuple, x.flatten(1).tolist()))
            return super().forward(x)

    few = images(count=16)
    torch.manual_seed(0)
    net = Watching(nn.Flatten(), nn.Linear(64, 2))
    train(net, RECIPE, Budget.parse("4ep"), few, 16, 1e3, seed=0)
    assert len(seen) == 16 + 16
