import math

import pytest

from bench.config import RequestError
from bench.regression import parse_share, percent, percent_range, thresholds, verdict, zone


@pytest.mark.parametrize(
    ("low", "high", "where"),
    [
        (1.03, 1.08, "above"),
        (0.90, 0.97, "below"),
        (0.99, 1.01, "within"),
        (1.01, 1.08, "unclear"),
        (0.90, 1.10, "unclear"),
        (0.0, math.inf, "unclear"),
    ],
)
def test_a_ratio_is_where_its_whole_interval_is(low: float, high: float, where: str) -> None:
    logs = (math.log(low) if low else -math.inf, math.log(high))
    assert zone(logs, 0.02) == where


def test_without_a_margin_only_equality_is_the_same() -> None:
    assert zone((0.0, 0.0), 0.0) == "within"
    assert zone((1e-12, 1e-12), 0.0) == "above"


@pytest.mark.parametrize(
    ("where", "better", "unit", "word"),
    [
        ("above", "higher", "images/s", "faster"),
        ("below", "higher", "images/s", "slower"),
        ("above", "lower", "ms", "slower"),
        ("below", "lower", "s", "faster"),
        ("above", "lower", "bytes", "worse"),
        ("above", "higher", "fraction", "better"),
        ("above", None, "images", "higher"),
        ("below", None, "W", "lower"),
        ("within", "lower", "ms", "same"),
        ("unclear", "higher", "fraction", "unclear"),
    ],
)
def test_words_know_which_direction_is_good(where, better, unit, word) -> None:  # type: ignore[no-untyped-def]
    assert verdict(where, better, unit) == word


def test_what_decides_an_exit_status_is_a_threshold_too() -> None:
    assert thresholds(0.02, None) == pytest.approx((-math.log(1.02), math.log(1.02)))
    assert thresholds(0.02, 0.05)[-1] == pytest.approx(math.log(1.05))


def test_percentages() -> None:
    assert parse_share("--fail-on", "5%") == 0.05
    assert parse_share("--fail-on", "2.5 %") == 0.025
    assert parse_share("--fail-on", "5") == 0.05
    for word in ("0.05", "much", "-5%", "5%%"):  # 0.05 may be meant as 5 %
        with pytest.raises(RequestError, match=rf"--fail-on '{word}': write a percentage such as 5%"):
            parse_share("--fail-on", word)


def test_an_end_that_is_not_known_is_said_in_words() -> None:
    assert percent_range((-0.01, 0.02)) == "−1.0 % to +2.0 %"
    assert percent_range((0.02, float("inf"))) == "at least +2.0 %"
    assert percent_range((float("-inf"), 0.02)) == "at most +2.0 %"
    assert percent_range((float("-inf"), float("inf"))) == "not known yet"


def test_small_changes_keep_a_digit() -> None:
    assert percent(math.log(1.051)) == "+5.1 %"
    assert percent(math.log(109.55)) == "+10,855 %"  # tenths of it say nothing
    assert percent(math.log(0.9)) == "−10.0 %"
    assert percent(math.log(1 + 6e-5)) == "+0.006 %"
    assert percent(0.0) == "+0.0 %"
    assert percent(math.inf) == "?"
