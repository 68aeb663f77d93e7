"""What had been spent when an accuracy was first reached."""

import pytest

from bench.training.schedule import CurvePoint, spent_to_reach


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
