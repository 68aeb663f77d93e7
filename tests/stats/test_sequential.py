"""The interval against planted ratios, and against noise that the theory allows but that would fool a t-test."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from bench.stats.sequential import LogRatioInterval

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


def test_a_bare_test_at_every_look_would_be_wrong_far_more_often() -> None:
    """Why stopping needs an interval of its own: Student's t after every pair, on noise alone."""
    from scipy.stats import ttest_1samp

    alarms = 0
    for series in range(60):
        random = np.random.default_rng(series)
        values = random.normal(size=100)
        alarms += any(ttest_1samp(values[:n], 0.0).pvalue < ERROR for n in range(5, 101, 5))
    assert alarms > 2 * 60 * ERROR


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
