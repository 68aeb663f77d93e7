"""The learning rate over the budget, what counts as spent, and the points and tests of a curve."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.config import Budget, Inputs, RequestError
from bench.engines.local import LocalMachine
from bench.records.run_folder import RunHeader
from bench.runner.execute import run_tasks
from bench.runner.plan import plan
from bench.training.schedule import (
    CurvePoint,
    CurveRecorder,
    Diverged,
    Meter,
    learning_rate_factor,
    require_tensorboard,
    spent_to_reach,
    write_events,
)
from tests.clock import Time
from tests.configs import new_run
from tests.probes.test_accuracy import CONFIG, SPEC, image_set


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
    clock = Time(100.0)
    meter = Meter(Budget.parse("10s"), 1000, 1e9, clock)
    meter.start()
    clock.spend(4)
    meter.pause()
    clock.spend(50)  # evaluation
    meter.start()
    clock.spend(2)
    assert meter.seconds == pytest.approx(6)
    meter.images = 600  # 0.01 s each: the next hundred are expected to take one more second
    assert meter.fraction_after(100) == pytest.approx(0.7)


def test_what_was_spent_is_known_in_every_currency() -> None:
    meter = Meter(Budget.parse("1ep"), images_per_epoch=500, forward_flops=2e6)
    meter.images = 1250
    assert meter.epochs == 2.5
    assert meter.flops == 3 * 2e6 * 1250


EPOCH = 1000
BATCH = 50


def epochs_of_tests(epochs: float, test_images: int) -> list[float]:
    """Where a training of so many epochs is tested on the way, without the test at its end."""
    meter = Meter(Budget(epochs, "ep"), EPOCH, 1.0)
    recorder = CurveRecorder(meter, test_images)
    tests = []
    while (fraction := meter.fraction_after(BATCH)) <= 1:
        meter.images += BATCH
        if recorder.note(torch.tensor(1.0), fraction, BATCH):
            due = recorder.test_due()
            recorder.add_point(0.5 if due else None)
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
    recorder = CurveRecorder(meter, 10)
    for loss in (1.0, math.nan, 1.0):
        meter.images += BATCH
        recorder.note(torch.tensor(loss), 0.5, BATCH)
    with pytest.raises(Diverged, match="the training loss was nan after 150 images"):
        recorder.add_point(None)


def curve(*top1: float | None) -> list[CurvePoint]:
    """A point every 100 images, 2 seconds and 1000 operations."""
    return [CurvePoint(100 * n, 2.0 * n, 1e3 * n, n / 10, 1.0, value) for n, value in enumerate(top1, start=1)]


def test_between_two_tests_accuracy_is_taken_to_rise_evenly() -> None:
    assert spent_to_reach(curve(0.5, None, 0.9), 0.7) == pytest.approx({"seconds": 4.0, "images": 200.0, "flops": 2e3})
    assert spent_to_reach(curve(0.5, 0.7), 0.7) == pytest.approx({"seconds": 4.0, "images": 200.0, "flops": 2e3})


def test_the_first_time_counts_and_not_a_later_one() -> None:
    assert spent_to_reach(curve(0.6, 0.8, 0.6, 0.9), 0.7) == pytest.approx(
        {"seconds": 3.0, "images": 150.0, "flops": 1.5e3}
    )


def test_above_it_at_the_first_test() -> None:
    assert spent_to_reach(curve(None, 0.95), 0.7) == pytest.approx({"seconds": 4.0, "images": 200.0, "flops": 2e3})


def test_never() -> None:
    assert spent_to_reach(curve(0.5, None, 0.69), 0.7) is None
    assert spent_to_reach([], 0.7) is None


CURVE: list[dict[str, Any]] = [
    {"images": 100, "seconds": 1.5, "flops": 1e9, "epoch": 0.5, "train_loss": 2.25, "test_top1": None},
    {"images": 200, "seconds": 3.0, "flops": 2e9, "epoch": 1.0, "train_loss": 1.5, "test_top1": 0.75},
]


def test_events_are_the_points_of_the_curve(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write_events(CURVE[:1], tmp_path / "events")
    write_events(CURVE, tmp_path / "events")  # in place of the first
    read = event_accumulator.EventAccumulator(str(tmp_path / "events"))
    read.Reload()
    assert sorted(read.Tags()["scalars"]) == ["accuracy/test", "loss/train"]
    losses, tests = read.Scalars("loss/train"), read.Scalars("accuracy/test")
    assert [(event.step, event.value) for event in losses] == [(100, 2.25), (200, 1.5)]
    assert [(event.step, event.value) for event in tests] == [(200, 0.75)]
    assert losses[1].wall_time - losses[0].wall_time == pytest.approx(1.5, abs=1e-3)


def test_without_the_package_the_request_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"--tensorboard needs TensorBoard.*pip install 'tensorboard>=2.16,<3'"):
        require_tensorboard()


def test_a_run_writes_the_events_of_its_trainings(in_this_process: None, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "images").mkdir()
    config, inputs = replace(CONFIG, tensorboard=True), Inputs({"cifar": image_set(tmp_path / "images")})
    run = new_run(tmp_path, "a", RunHeader())
    place = LocalMachine(("cpu",), tmp_path / "workers.log")
    run_tasks(run, plan([SPEC], config, inputs), place, None, lambda task, device: None, lambda task, outcome: None)
    (folder,) = (run.folder / "tensorboard").iterdir()
    assert folder.name == "lenet5_cifar-seed0"
    (events,) = folder.iterdir()
    assert events.stat().st_size > 0
