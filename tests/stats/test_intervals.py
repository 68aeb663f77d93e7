"""Intervals: known values from the literature, and coverage by simulation with a fixed seed."""

import math
import random
import statistics

import numpy as np
import pytest
import scipy.stats

from bench.stats.intervals import (
    holm,
    mean_difference,
    mean_interval,
    median_interval,
    rank_correlation,
    share_difference,
    shared_variances,
    wilson_interval,
)


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


def test_mean_difference_is_welchs() -> None:
    first, second = [0.81, 0.80, 0.83, 0.79], [0.78, 0.70, 0.75]
    known = scipy.stats.ttest_ind(first, second, equal_var=False)
    found = mean_difference(first, second, resolution=1e-4)
    assert found.value == pytest.approx(0.8075 - 0.743333, abs=1e-6)
    assert found.p_value == pytest.approx(known.pvalue, rel=1e-9)
    assert found.interval == pytest.approx(tuple(known.confidence_interval()), rel=1e-9)


def test_two_pairs_of_equal_runs_are_not_infinitely_sure() -> None:
    # Steps of 0.01 hide spreads of up to 0.01 / sqrt(12) = 0.0029: t = 0.01 / 0.0029 = 3.46 with 2 degrees of freedom.
    assert mean_difference([0.6, 0.6], [0.59, 0.59], resolution=0.01).p_value == pytest.approx(0.0742, abs=1e-4)


def test_share_difference_has_the_published_interval() -> None:
    # Newcombe 1998, Table II, example (a), method 10: 56/70 and 48/80.
    found = share_difference(56 / 70, 70, 48 / 80, 80)
    assert found.value == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.0524, 0.3339), abs=1e-4)
    # The square of z is Pearson's chi-squared without correction of the same 2x2 table.
    known = scipy.stats.chi2_contingency([[56, 14], [48, 32]], correction=False)
    assert found.p_value == pytest.approx(known.pvalue, rel=1e-9)


def test_shares_without_any_spread_do_not_differ() -> None:
    assert share_difference(1.0, 50, 1.0, 80).p_value == 1.0


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never falling: 0.02, 0.03, 0.06, 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_rank_correlation_matches_scipy_with_ties() -> None:
    draw = random.Random(3)
    x = [float(draw.randint(0, 9)) for _ in range(40)]
    y = [value + draw.gauss(0, 3) for value in x]
    assert rank_correlation(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert rank_correlation([1, 2, 3], [30, 20, 10]) == pytest.approx(-1)


def test_equal_values_have_no_rank_correlation() -> None:
    assert math.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))


def scattered_variances(groups: int, prior_degrees: float, degrees: int, common: float) -> list[float]:
    """Estimates, each from `degrees` + 1 normal values, of variances that scatter around a common one."""
    generator = np.random.default_rng(0)
    true = (
        common * prior_degrees / generator.chisquare(prior_degrees, groups) if math.isfinite(prior_degrees) else common
    )
    return [float(v) for v in true * generator.chisquare(degrees, groups) / degrees]


def test_variances_share_as_much_as_they_are_alike() -> None:
    found = scattered_variances(4000, prior_degrees=10.0, degrees=4, common=2.0)
    shared = shared_variances(found, [4] * len(found))
    freedom = shared[0][1]
    assert freedom == pytest.approx(4 + 10.0, rel=0.15)
    # Smyth's equation: both estimates, weighted by their degrees of freedom.
    prior = freedom - 4
    assert (shared[0][0] * freedom - 4 * found[0]) / prior == pytest.approx(2.0, rel=0.1)
    assert (shared[1][0] * freedom - 4 * found[1]) / prior == pytest.approx(2.0, rel=0.1)


def test_equal_variances_become_one() -> None:
    found = scattered_variances(4000, prior_degrees=math.inf, degrees=4, common=2.0)
    value, freedom = shared_variances(found, [4] * len(found))[0]
    assert value == pytest.approx(2.0, rel=0.05)
    assert freedom > 100


def test_two_variances_have_nothing_to_share() -> None:
    assert shared_variances([1.0, 4.0], [2, 3]) == [(1.0, 2.0), (4.0, 3.0)]


def test_a_variance_of_nothing_is_lent_the_others() -> None:
    found = [*scattered_variances(50, prior_degrees=8.0, degrees=4, common=1.0), 0.0]
    value, freedom = shared_variances(found, [*([4] * 50), 4])[-1]
    assert 0 < value < 1
    assert freedom > 4
