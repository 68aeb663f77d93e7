"""Intervals: known values from the literature, and coverage by simulation with a fixed seed."""

import math
import random
import statistics
from collections.abc import Iterator

import numpy as np
import pytest
import scipy.stats

from bench.stats import (
    LogRatioInterval,
    change_points,
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


ERROR = 0.05
MARGIN = math.log1p(0.02)


def noise(kind: str, random: np.random.Generator, scale: float) -> Iterator[float]:
    """Symmetric around zero given all that came before, which is what a fair coin over the order guarantees."""
    level = 0.0
    while True:
        if kind == "normal":
            yield scale * random.normal()
        elif kind == "hiccups":  # one pair in ten is hit by something ten times as large
            yield scale * random.normal() * (10 if random.random() < 0.1 else 1)
        elif kind == "two speeds":  # the machine is fast or slow for one side of the pair
            yield scale * random.choice([-3.0, 3.0]) + 0.1 * scale * random.normal()
        else:  # load that comes and goes: how far pairs scatter depends on the pairs before
            level = 0.95 * level + random.normal()
            yield scale * random.choice([-1.0, 1.0]) * abs(level)


@pytest.mark.parametrize("kind", ["normal", "hiccups", "two speeds", "bursts"])
def test_the_true_ratio_hardly_ever_leaves_the_interval_however_often_it_is_looked_at(kind: str) -> None:
    """60 series at an error of 5 %: more than 9 misses have a chance below 0.1 % even if the error were used up."""
    misses = 0
    truth = math.log1p(0.03)
    for series in range(60):
        random = np.random.default_rng(series)
        log_ratios = LogRatioInterval(ERROR)
        for n, value in zip(range(1, 97), noise(kind, random, 0.05), strict=False):
            log_ratios.add(truth + value)
            if n % 12 == 0:
                low, high = log_ratios.interval()
                if not low <= truth <= high:
                    misses += 1
                    break
    assert misses <= 9


@pytest.mark.parametrize(("effect", "enough"), [(0.05, 200), (0.10, 80)])
def test_a_planted_ratio_is_found_after_few_pairs(effect: float, enough: int) -> None:
    for seed in range(10):
        random = np.random.default_rng(seed)
        log_ratios = LogRatioInterval(0.01)
        for _, value in zip(range(enough), noise("hiccups", random, 0.03), strict=False):
            log_ratios.add(math.log1p(effect) + value)
        assert log_ratios.interval()[0] > MARGIN
        assert log_ratios.centre() == pytest.approx(math.log1p(effect), abs=0.02)


def test_the_interval_never_grows() -> None:
    random = np.random.default_rng(1)
    log_ratios = LogRatioInterval(ERROR)
    before = (-math.inf, math.inf)
    for value in random.normal(size=60):
        log_ratios.add(float(value))
        low, high = log_ratios.interval()
        assert low >= before[0]
        assert high <= before[1]
        before = low, high


def test_nothing_is_known_of_a_few_pairs() -> None:
    log_ratios = LogRatioInterval(0.01)
    assert log_ratios.interval() == (-math.inf, math.inf)
    for _ in range(5):
        log_ratios.add(0.3)
    assert log_ratios.interval() == (-math.inf, math.inf)


def test_it_is_the_same_seen_from_the_other_side() -> None:
    random = np.random.default_rng(2)
    there, back = LogRatioInterval(ERROR), LogRatioInterval(ERROR)
    for value in random.normal(0.1, 0.2, size=80):
        there.add(float(value))
        back.add(-float(value))
    low, high = there.interval()
    assert back.interval() == pytest.approx((-high, -low))
    assert back.centre() == pytest.approx(-there.centre())


def test_one_wild_pair_moves_little() -> None:
    random = np.random.default_rng(3)
    values = [float(value) for value in random.normal(0.0, 0.02, size=80)]
    calm, hit = LogRatioInterval(ERROR), LogRatioInterval(ERROR)
    for value in values:
        calm.add(value)
        hit.add(value)
    hit.add(5.0)
    assert hit.centre() == pytest.approx(calm.centre(), abs=0.002)


def test_pairs_without_any_noise_settle_at_their_ratio() -> None:
    log_ratios = LogRatioInterval(0.01)
    for _ in range(60):
        log_ratios.add(0.25)
    low, high = log_ratios.interval()
    assert low <= 0.25 <= high
    assert high - low < 0.01


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        LogRatioInterval(0.01).add(value)


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_a_promise_without_error_is_refused(error: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        LogRatioInterval(error)


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
