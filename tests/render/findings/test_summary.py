"""The three sentences, correct for ties, chance and missing numbers."""

from __future__ import annotations

from bench.records.record import Record
from bench.render.findings.summary import findings
from bench.render.results.table import read_results
from tests.render.conftest import RunBuilder, counts, listed, speeds, training

A, B, C = (listed(f"{name}_cifar", name, 2015, "cifar") for name in "abc")


def numbers(name: str, top1: float, params: float, macs: float) -> list[Record]:
    return [*counts(name, params, macs, 1e6), *training(name, top1, trials=10_000)]


def test_three_networks(build: RunBuilder) -> None:
    rows = [
        *numbers("a_cifar", 0.50, 1_000, 1_000_000),
        *numbers("b_cifar", 0.70, 9_000, 4_000_000),
        *numbers("c_cifar", 0.65, 5_000, 5_000_000),
    ]
    best, front, small = findings(read_results(build([A, B, C], rows)))
    assert best == "b_cifar is the most accurate of 3 networks on cifar10 after a budget of 20s: 70.00 ± 0.91 %."
    # a: (50 - 10) points for 1 million MACs, b: (70 - 10) for 4; c is beaten by b in both
    assert front == (
        "2 of 3 networks are on the Pareto front of accuracy against MACs; among them a_cifar gains most per "
        "operation: 40 percentage points above chance per million MACs."
    )
    # 90 % of 70 % is 63 %: b and c
    assert small == (
        "Of the 2 networks that reach 90 % of the best accuracy, c_cifar has the fewest parameters: 5.00 k, for 65.0 %."
    )


def test_overlapping_intervals_are_said(build: RunBuilder) -> None:
    rows = [*numbers("a_cifar", 0.700, 10, 10), *numbers("b_cifar", 0.695, 20, 20)]
    assert "interval of b_cifar overlaps with it" in findings(read_results(build([A, B], rows)))[0]


def test_a_tie_has_no_single_winner(build: RunBuilder) -> None:
    rows = [*numbers("a_cifar", 0.7, 10, 10), *numbers("b_cifar", 0.7, 10, 20), *numbers("c_cifar", 0.2, 1, 30)]
    best, front, small = findings(read_results(build([A, B, C], rows)))
    assert best.startswith("a_cifar and b_cifar share the highest accuracy of 3 networks")
    assert front.startswith("a_cifar is the whole Pareto front")
    assert "a_cifar and b_cifar have the fewest parameters: 10" in small


def test_a_cheap_network_at_chance_leads_nothing(build: RunBuilder) -> None:
    rows = [*numbers("a_cifar", 0.1, 1, 1), *numbers("b_cifar", 0.5, 100, 1e6), *numbers("c_cifar", 0.6, 200, 2e6)]
    sentences = findings(read_results(build([A, B, C], rows)))
    assert "a_cifar" not in " ".join(sentences)
    assert sentences[1].startswith("2 of 3 networks are on the Pareto front")


def test_all_at_chance(build: RunBuilder) -> None:
    rows = [*numbers("a_cifar", 0.1, 1, 1), *numbers("b_cifar", 0.101, 1, 1)]
    assert findings(read_results(build([A, B], rows))) == [
        "No network does better than chance (10.0 %) on cifar10 after a budget of 20s."
    ]


def test_one_network_is_compared_with_nothing(build: RunBuilder) -> None:
    (sentence,) = findings(read_results(build([A], numbers("a_cifar", 0.5, 1, 1))))
    assert sentence.endswith("no other network was trained.")


def test_accuracy_without_costs_gives_one_sentence(build: RunBuilder) -> None:
    rows = [*training("a_cifar", 0.5), *training("b_cifar", 0.6)]
    assert len(findings(read_results(build([A, B], rows)))) == 1


def test_costs_alone(build: RunBuilder) -> None:
    rows = [*counts("a_cifar", 5, 100, 1), *counts("b_cifar", 5, 50, 1), *speeds("a_cifar", 100)]
    assert findings(read_results(build([A, B], rows))) == [
        "a_cifar and b_cifar have the fewest parameters of 2 cifar networks: 5.",
        "b_cifar has the fewest MACs of 2 cifar networks: 50.",
    ]


def test_synthetic_images_are_named_as_such(build: RunBuilder) -> None:
    rows = [*training("a_cifar", 0.5, dataset="synthetic"), *training("b_cifar", 0.9, dataset="synthetic")]
    assert "on synthetic (generated images)" in findings(read_results(build([A, B], rows)))[0]


def test_an_empty_run_finds_nothing(build: RunBuilder) -> None:
    assert findings(read_results(build([], []))) == []
    assert findings(read_results(build([A], []))) == []


def test_a_crowd_is_counted_and_not_named(build: RunBuilder) -> None:
    models = [listed(f"n{place}_cifar", "N", 2015, "cifar") for place in range(7)]
    rows = [row for place in range(7) for row in numbers(f"n{place}_cifar", 0.5 + place / 1e4, 1e6, 1e6)]
    assert "intervals of 6 others overlap with it" in findings(read_results(build(models, rows)))[0]
