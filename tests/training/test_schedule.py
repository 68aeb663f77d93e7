"""The learning rate over the budget, and what counts as spent."""

import math

import pytest

from bench.config import Budget
from bench.training.schedule import Meter, learning_rate_factor


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_rises_to_its_peak_and_ends_at_zero() -> None:
    assert learning_rate_factor(0.0, warmup=0.1) == 0
    assert learning_rate_factor(0.05, warmup=0.1) == pytest.approx(0.5)
    assert learning_rate_factor(0.1, warmup=0.1) == pytest.approx(1)
    assert learning_rate_factor(0.55, warmup=0.1) == pytest.approx(0.5)
    assert learning_rate_factor(1.0, warmup=0.1) == pytest.approx(0, abs=1e-12)
    assert learning_rate_factor(0.5, warmup=0.0) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


def test_a_constant_rate_stays_at_its_peak_after_the_warm_up() -> None:
    assert [learning_rate_factor(f, 0.0, "constant") for f in (0.0, 0.5, 1.0)] == [1, 1, 1]
    assert learning_rate_factor(0.05, 0.1, "constant") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("budget", "images"),
    [("2ep", 2000), ("3kimg", 3000), ("0.003pflop", 1000)],  # 1000 images x 3 x 1e9 = 3e12 operations
)
def test_each_currency_ends_at_its_amount(budget: str, images: int) -> None:
    meter = Meter(Budget.parse(budget), images_per_epoch=1000, forward_flops=1e9)
    meter.images = images - 100
    assert meter.fraction_after(100) == pytest.approx(1)
    assert meter.fraction_after(0) == pytest.approx((images - 100) / images)


def test_seconds_run_only_while_training() -> None:
    clock = Clock()
    meter = Meter(Budget.parse("10s"), 1000, 1e9, clock)
    meter.start()
    clock.now += 4
    meter.pause()
    clock.now += 50  # evaluation
    meter.start()
    clock.now += 2
    assert meter.seconds == pytest.approx(6)
    meter.images = 600  # 0.01 s each: the next hundred are expected to take one more second
    assert meter.fraction_after(100) == pytest.approx(0.7)


def test_what_was_spent_is_known_in_every_currency() -> None:
    meter = Meter(Budget.parse("1ep"), images_per_epoch=500, forward_flops=2e6)
    meter.images = 1250
    assert meter.epochs == 2.5
    assert meter.flops == 3 * 2e6 * 1250
