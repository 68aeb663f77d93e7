"""When points and tests of a curve are due, on a training that is only counted."""

import math

import pytest
import torch

from bench.config import Budget
from bench.training.schedule import Diverged, History, Meter

EPOCH = 1000
BATCH = 50


def epochs_of_tests(epochs: float, test_images: int) -> list[float]:
    """Where a training of so many epochs is tested on the way, without the test at its end."""
    meter = Meter(Budget(epochs, "ep"), EPOCH, 1.0)
    history = History(meter, test_images)
    tests = []
    while (fraction := meter.fraction_after(BATCH)) <= 1:
        meter.images += BATCH
        if history.note(torch.tensor(1.0), fraction, BATCH):
            due = history.test_due()
            history.add_point(0.5 if due else None)
            if due:
                tests.append(meter.epochs)
    return tests


def test_a_short_training_is_tested_every_twentieth_of_its_budget() -> None:
    assert epochs_of_tests(1, test_images=BATCH // 10) == pytest.approx([n / 20 for n in range(1, 20)])


def test_a_few_epochs_are_tested_at_their_ends_and_within_the_first() -> None:
    tests = epochs_of_tests(7, test_images=BATCH // 10)
    assert tests == pytest.approx([0.35, 0.7, 1, 2, 3, 4, 5, 6], abs=0.01)


def test_many_epochs_are_tested_every_twentieth_of_the_budget_at_their_ends() -> None:
    assert epochs_of_tests(60, test_images=BATCH // 10) == pytest.approx(list(range(3, 60, 3)))


def test_testing_on_the_way_costs_at_most_a_twentieth_of_training() -> None:
    """A step is worth three forward passes of its batch."""
    tests = epochs_of_tests(7, test_images=105)
    assert all(later - sooner >= 0.7 - 1e-9 for sooner, later in zip([0.0, *tests], tests, strict=False))
    assert 5 <= len(tests) <= 10
    assert epochs_of_tests(1, test_images=5000) == []


def test_a_loss_that_is_no_number_is_found_at_the_next_point() -> None:
    meter = Meter(Budget(1, "ep"), EPOCH, 1.0)
    history = History(meter, 10)
    for loss in (1.0, math.nan, 1.0):
        meter.images += BATCH
        history.note(torch.tensor(loss), 0.5, BATCH)
    with pytest.raises(Diverged, match="the training loss was nan after 150 images"):
        history.add_point(None)
