"""Intervals: known values from the literature, and coverage by simulation with a fixed seed."""

import math
import random
import statistics

import pytest

from bench.stats import mean_interval, median_interval, wilson_interval


def test_median_interval_has_the_published_ranks() -> None:
    # Conover 1999, Table A3 and section 3.2: n = 10 gives ranks 2 and 9 (97.9 %), n = 20 gives 6 and 15 (95.9 %).
    assert median_interval(range(1, 11)) == (2, 9)
    assert median_interval(range(1, 21)) == (6, 15)


@pytest.mark.parametrize("n", [6, 15, 60])
def test_median_interval_covers_the_median_at_least_as_often_as_it_says(n: int) -> None:
    draw = random.Random(1)
    hits = 0
    for _ in range(2000):
        low, high = median_interval([draw.lognormvariate(0, 1) for _ in range(n)])
        hits += low <= 1.0 <= high
    assert hits / 2000 > 0.94


def test_few_samples_give_their_whole_range() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


def test_mean_interval_is_students() -> None:
    # t(0.975, 2 degrees) = 4.302653
    values = [0.90, 0.91, 0.92]
    half = 4.302653 * statistics.stdev(values) / math.sqrt(3)
    assert mean_interval(values) == pytest.approx((0.91 - half, 0.91 + half), abs=1e-7)
    assert all(math.isnan(bound) for bound in mean_interval([0.9]))


def test_wilson_interval_matches_a_published_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17, Table I: 81 of 263 and 0 of 20 (score method without correction).
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
