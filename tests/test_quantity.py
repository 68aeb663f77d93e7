"""Numbers as people read them."""

import math

import pytest

from bench.metrics import METRICS
from bench.quantity import (
    axis_label,
    first_line,
    in_sentence,
    listing,
    measured,
    ordinal,
    parse_quantity,
    quantity,
    tick,
)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "count", "0"),
        (10, "count", "10"),
        (999, "count", "999"),
        (269_722, "count", "270 k"),
        (999_600, "count", "1.00 M"),  # never "1000 k"
        (5_247_000_000, "count", "5.25 G"),
        (57_232, "bytes/image", "55.9 KiB"),
        (1024**2 - 1, "bytes/image", "1.00 MiB"),
        (512, "bytes", "512 B"),
        (0.7123, "fraction", "71.2 %"),
        (1.0, "fraction", "100 %"),
        (45_123.4, "images/s", "45,123"),
        (0.05, "images/s", "0.0500"),
        (9.996, "images/s", "10.0"),
        (20.05, "s", "20.1 s"),
        (math.nan, "count", "–"),
        (2.2e-7, "ratio", "2.20e-07"),  # zeros would hide it
    ],
)
def test_quantity(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "unit", "text"),
    [
        (0.7123, 0.7034, 0.7210, "fraction", "71.23 ± 0.89 %"),
        (2.21e-7, 1.5e-7, 2.9e-7, "ratio", "2.21e-07 ± 7.1e-08"),
        (45_123, 44_785, 45_400, "images/s", "45,120 ± 340"),
        (0.5, 0.49, 0.53, "fraction", "50.0 ± 3.0 %"),  # the larger half
        (7.0, math.nan, math.nan, "images/s", "7.00"),
        (7.0, 7.0, 7.0, "images/s", "7.00"),
    ],
)
def test_an_interval_rounds_its_value(value: float, low: float, high: float, unit: str, text: str) -> None:
    assert measured(value, low, high, unit) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1e7, "count", "10 M"), (2**22, "bytes/image", "4 MiB"), (0.105, "fraction", "10.5 %"), (0, "bytes", "0 B")],
)
def test_a_tick_has_no_idle_digits(value: float, unit: str, text: str) -> None:
    assert tick(value, unit) == text


def test_labels_name_the_unit_that_ticks_leave_out() -> None:
    assert axis_label(METRICS["train_images_per_s"], "batch 64") == "Training throughput (images/s, batch 64)"
    assert axis_label(METRICS["saved_activation_bytes"]) == "Saved activations (per image)"
    assert axis_label(METRICS["macs"]) == "MACs"
    assert [in_sentence(METRICS[name]) for name in ("macs", "train_loss")] == ["MACs", "training loss"]


def test_an_interval_wider_than_its_value_is_shown_by_its_ends() -> None:
    assert measured(2.1, 0.4, 26.0, "ms") == "2.1 (0.40 to 26)"
    assert measured(1000.0, 300.0, 2100.0, "images/s") == "1,000 (300 to 2,100)"
    assert measured(10.0, 4.0, 18.0, "ms") == "10.0 ± 8.0"


def test_words_are_listed_as_in_a_sentence() -> None:
    assert [listing(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert listing(["a", "b", "c"], 2) == "a, b and c"
    assert listing(["a", "b", "c", "d"], 2) == "a, b and 2 more"


@pytest.mark.parametrize(
    ("number", "word"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (21, "21st"), (112, "112th")],
)
def test_ordinals(number: int, word: str) -> None:
    assert ordinal(number) == word


@pytest.mark.parametrize(
    ("word", "unit", "value"),
    [
        ("20e6", "count", 20e6),
        ("20M", "FLOPs", 20e6),
        ("1.5 GB", "bytes", 1.5e9),
        ("512KiB", "bytes/image", 512 * 1024),
        ("0.5s", "ms", 500),
        ("2min", "s", 120),
        ("3mJ", "J", 0.003),
        ("200 images/s", "images/s", 200),
        (".5", "ratio", 0.5),
        ("1.5k", "images/s", 1500.0),
    ],
)
def test_a_number_is_read_as_people_write_it(word: str, unit: str, value: float) -> None:
    assert parse_quantity(word, unit) == pytest.approx(value)


@pytest.mark.parametrize(
    ("word", "unit"), [("20m", "count"), ("5GB", "ms"), ("1e999", "s"), ("1,00", "count"), ("", "s")]
)
def test_what_is_no_number_of_the_unit_is_refused(word: str, unit: str) -> None:
    with pytest.raises(ValueError, match="write a number"):
        parse_quantity(word, unit)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("  first\nsecond"), "first"),
        (ValueError("\x1b[31mred"), " [31mred"),
        (ValueError(), "no message"),
        (MemoryError(), "it asked for more than it may have"),
        ("a worker's words\nmore", "a worker's words"),
    ],
)
def test_of_an_error_a_person_reads_the_first_line_without_orders_to_the_terminal(error: object, line: str) -> None:
    assert first_line(error) == line
