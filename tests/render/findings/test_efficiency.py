"""Fronts worked out by hand."""

import pytest

from bench.render.findings.ranking import pareto_front


@pytest.mark.parametrize(
    ("cost", "accuracy", "front"),
    [
        ([1, 2, 3], [0.5, 0.4, 0.6], [0, 2]),
        ([1, 1, 2], [0.5, 0.5, 0.5], [0, 1]),  # equal pairs share the front; dearer at equal accuracy is off it
        ([1, 1], [0.5, 0.6], [1]),  # equal cost: only the better
        ([3, 2, 1], [0.9, 0.8, 0.7], [2, 1, 0]),  # by rising cost
        ([1], [0.1], [0]),
        ([], [], []),
    ],
)
def test_front_of_costs(cost: list[float], accuracy: list[float], front: list[int]) -> None:
    assert pareto_front(cost, accuracy) == front


def test_more_throughput_is_better() -> None:
    assert pareto_front([10, 20, 30], [0.6, 0.7, 0.5], cost_better="higher") == [1, 2]
