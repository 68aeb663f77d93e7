"""The tables of a terminal: aligned, with units, every mark explained."""

from bench.render.tables.terminal import aligned, summary
from tests.render.conftest import RunBuilder, listed, ok


def test_numbers_go_right_words_left_and_headings_stand_on_their_columns() -> None:
    rows = [
        {"name": "a", "params\nof it": "1,234", "note": "x"},
        {"name": "[bold]bb", "params\nof it": "5", "note": ""},
    ]
    assert aligned(rows).split("\n") == [
        "          params",
        "name       of it  note",
        "a          1,234  x",
        "[bold]bb       5",
    ]


def test_units_are_in_the_headings_and_the_best_is_explained(build: RunBuilder) -> None:
    models = [listed(f"{name}_cifar", "A", 2015, "cifar") for name in "ab"]
    rows = [ok("a_cifar", "latency_ms", 5.0, batch_size=1), ok("b_cifar", "latency_ms", 7.0, batch_size=1)]
    text = summary(build(models, rows))
    heading = text[: text.index("a_cifar  ")]
    assert "Latency" in heading
    assert "ms" in heading.split()[-3:] or "ms" in heading.split()
    assert "5.00*" in text
    assert "* best of its column" in text
