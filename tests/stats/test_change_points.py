"""Planted steps, and series in which nothing happens."""

import math

import numpy as np
import pytest

from bench.stats.change_points import change_points


def series(seed: int, levels: list[tuple[int, float]], spread: float = 0.02) -> list[float]:
    """(how many runs, level) after each other, with noise."""
    random = np.random.default_rng(seed)
    return [level * math.exp(spread * random.normal()) for count, level in levels for _ in range(count)]


def test_a_planted_step_is_found_where_it_is() -> None:
    (found,) = change_points([series(0, [(10, 100.0), (10, 90.0)])], 0.02)
    assert [change.index for change in found] == [10]
    assert found[0].ratio == pytest.approx(0.9, abs=0.02)


def test_two_steps_are_both_found() -> None:
    (found,) = change_points([series(1, [(12, 100.0), (12, 80.0), (12, 100.0)])], 0.02)
    assert [change.index for change in found] == [12, 24]


def test_a_step_among_many_series_is_found_and_little_else() -> None:
    quiet = [series(seed, [(20, 100.0)]) for seed in range(99)]
    found = change_points([*quiet, series(0, [(10, 100.0), (10, 90.0)])], 0.0)
    assert found[-1]
    assert sum(bool(changes) for changes in found[:-1]) <= 2


def test_series_in_which_nothing_happens_are_left_alone() -> None:
    """Forty sets of five series, of which one in twenty may have a false change: more than six is not chance."""
    alarms = 0
    for number in range(40):
        sets = [series(1000 + 5 * number + n, [(15, 100.0)]) for n in range(5)]
        alarms += any(change_points(sets, 0.0))
    assert alarms <= 6


def test_one_wild_run_is_no_change() -> None:
    values = series(2, [(20, 100.0)])
    values[7] = 10.0
    assert change_points([values], 0.02) == [[]]


def test_a_step_below_the_margin_is_not_marked() -> None:
    values = series(3, [(15, 100.0), (15, 101.0)], spread=0.001)
    assert change_points([values], 0.0) != [[]]
    assert change_points([values], 0.02) == [[]]


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0, 3.0], [5.0] * 20])
def test_too_few_or_equal_numbers_have_no_change(values: list[float]) -> None:
    assert change_points([values], 0.02) == [[]]
