"""Which differences are significant, how ranks change with the budget, Pareto fronts, harm by depth."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from bench.records.record import Record
from bench.render.findings import problems
from bench.render.findings.ranking import (
    DEPTH_NETWORKS,
    FAMILY_ERROR,
    budget_tables,
    degradation,
    neighbour_p_values,
    pareto_front,
    rankings,
)
from bench.render.page import write_pages
from bench.render.results import Cell, Results, cells_of, to_table, write_csv
from tests.render.conftest import Reader, bad, training

FIELD, FAMILIES = 10, 200


def cells(accuracies: np.ndarray, trials: int) -> list[Cell]:
    """A cell for each row of accuracies, a seed per column, by falling mean."""
    made = [
        cells_of(
            Record("a", "accuracy", "top1", float(value), "fraction", "ok", trials=trials, seed=seed)
            for seed, value in enumerate(row)
        )["a", "top1"]
        for row in accuracies
    ]
    return sorted(made, key=lambda cell: -cell.value)


def simulated(random: np.random.Generator, seeds: int, spread: float) -> list[Cell]:
    """Equally good networks: the same chance of being right on every image, and a luck of its own for each seed."""
    shares = np.clip(0.6 + spread * random.standard_normal((FIELD, seeds)), 0, 1)
    return cells(random.binomial(1000, shares) / 1000, 1000)


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (2, 0.005), (3, 0.0), (3, 0.03)])
def test_equal_networks_are_told_apart_in_one_family_of_twenty_at_most(seeds: int, spread: float) -> None:
    random = np.random.default_rng(0)
    wrong = sum(min(neighbour_p_values(simulated(random, seeds, spread))) < FAMILY_ERROR for _ in range(FAMILIES))
    assert wrong <= FAMILY_ERROR * FAMILIES


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_a_clear_step_is_found_and_nothing_else(seeds: int) -> None:
    random = np.random.default_rng(1)
    found = 0
    for _ in range(50):
        shares = np.repeat([0.75, 0.55], 3)[:, None] + 0.003 * random.standard_normal((6, seeds))
        told = [p < FAMILY_ERROR for p in neighbour_p_values(cells(random.binomial(1000, shares) / 1000, 1000))]
        found += told[2]
    assert found >= 48


def test_three_seeds_by_hand(read: Reader) -> None:
    # Means 0.80 and 0.60, both with standard deviation 0.01: t = 0.2 / sqrt(2 * 0.0001 / 3) = 24.49 with 4 degrees
    # of freedom, p = 1.6e-5. The third equals the second.
    accuracies = {"a_cifar": (0.79, 0.80, 0.81), "b_cifar": (0.59, 0.60, 0.61), "c_cifar": (0.59, 0.60, 0.61)}
    rows = [
        row
        for name, values in accuracies.items()
        for seed, top1 in enumerate(values)
        for row in training(name, top1, seed=seed)
    ]
    (ranking,) = rankings(read(rows))
    assert [(ranked.rank, ranked.model.name) for ranked in ranking.ranked] == [
        (1, "a_cifar"),
        (2, "b_cifar"),
        (2, "c_cifar"),
    ]
    first, second, last = ranking.ranked
    assert first.p_value == pytest.approx(2 * 1.6477e-5, rel=1e-3)  # Holm: two neighbours
    assert (second.p_value, last.p_value) == (1.0, None)
    assert [[ranked.model.name for ranked in cluster] for cluster in ranking.clusters] == [
        ["a_cifar"],
        ["b_cifar", "c_cifar"],
    ]
    assert ranking.method.startswith("Each network against the next one below: Welch's")


def test_one_seed_is_tested_over_its_test_images_and_says_so(read: Reader) -> None:
    # 620 against 580 of 1000: pooled 0.6, deviation sqrt(0.24 * 2 / 1000) = 0.021909, z = 1.8257, p = 0.0679.
    rows = [*training("a_cifar", 0.62, trials=1000), *training("b_cifar", 0.58, trials=1000)]
    (ranking,) = rankings(read(rows))
    assert ranking.ranked[0].p_value == pytest.approx(0.0679, abs=1e-4)
    assert ranking.ranked[0].verdict == "not significant (p = 0.068)"
    assert "does not know how much another seed" in ranking.method
    assert len(ranking.clusters) == 1


def test_networks_on_other_data_are_never_neighbours(read: Reader) -> None:
    rows = [*training("a_cifar", 0.9), *training("b_cifar", 0.5), *training("c_cifar", 0.1, dataset="synthetic")]
    (ranking,) = rankings(read(rows))
    assert [ranked.model.name for ranked in ranking.ranked] == ["a_cifar", "b_cifar"]


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


@pytest.mark.parametrize(
    ("accuracies", "words"),
    [
        (
            (0.80, 0.70, 0.80, 0.82),
            "is seen, and not in the residual networks: plain-56 is 10.0 percentage points below",
        ),
        ((0.80, 0.70, 0.80, 0.70), "is seen, in the residual networks too"),
        ((0.80, 0.79, 0.80, 0.81), "No degradation with depth is seen"),
        ((0.80, 0.80, 0.80, 0.60), "in the residual networks alone"),
    ],
)
def test_the_verdict_follows_the_intervals(read: Reader, accuracies: tuple[float, ...], words: str) -> None:
    rows = [row for name, top1 in zip(DEPTH_NETWORKS, accuracies, strict=True) for row in training(name, top1)]
    (sentence,) = degradation(read(rows))
    assert words in sentence


def test_the_interval_of_three_seeds_by_hand(read: Reader) -> None:
    # Standard deviations 0.01: standard error 0.0081650 with 4 degrees of freedom, t = 2.77645: 0.1 +- 0.02267.
    rows = [
        row
        for name, middle in zip(DEPTH_NETWORKS, (0.8, 0.7, 0.8, 0.8), strict=True)
        for seed in range(3)
        for row in training(name, middle + 0.01 * (seed - 1), seed=seed)
    ]
    (sentence,) = degradation(read(rows))
    assert "10.0 percentage points below (95 % interval 7.7 to 12.3) plain-20" in sentence


def test_three_networks_are_no_experiment(read: Reader) -> None:
    rows = [row for name in DEPTH_NETWORKS[:3] for row in training(name, 0.8)]
    assert degradation(read(rows)) == []


# name -> accuracy after ten epochs and after a minute: the cheap network gains by equal seconds.
ACCURACIES = {"deep_cifar": (0.80, 0.40), "middle_cifar": (0.70, 0.50), "cheap_cifar": (0.60, 0.60)}


def two_budgets(read: Reader, *extra: object) -> Results:
    rows = [
        row
        for name, accuracies in ACCURACIES.items()
        for budget, top1 in zip(("10ep", "60s"), accuracies, strict=True)
        for row in training(name, top1, budget=budget)
    ]
    return read([*rows, *extra], budget="10ep", other_budgets=["60s"])


def test_places_move_with_the_budget(read: Reader) -> None:
    (table,) = budget_tables(two_budgets(read))
    columns = [(column.heading, column.detail) for column in table.table.columns]
    assert columns == [("10ep", "equal epochs"), ("60s", "equal seconds")]
    assert [(row.model.name, *(cell.aside for cell in row.cells)) for row in table.table.rows] == [
        ("deep_cifar", "1", "3, down 2"),
        ("middle_cifar", "2", "2"),
        ("cheap_cifar", "3", "1, up 2"),
    ]
    assert table.agreement == ("10ep and 60s order 0 of 3 pairs of networks alike.",)


def test_tables_are_those_of_the_first_budget(read: Reader) -> None:
    results = two_budgets(read)
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(write_csv(to_table(results))))}
    assert set(rows) == set(ACCURACIES)
    assert (rows["deep_cifar"]["top1"], rows["deep_cifar"]["budget"]) == ("0.8", "10ep")
    assert [group.budget for group in results.accuracy_groups()] == ["10ep"]
    assert results.under("60s").cell("deep_cifar", "top1").value == 0.4


def test_a_network_that_failed_under_one_budget_has_no_place_and_says_so(read: Reader) -> None:
    facts = {"dataset": "cifar10", "budget": "60s"}
    results = two_budgets(
        read, *training("late_cifar", 0.9, budget="10ep"), bad("late_cifar", "top1", "timeout", "slow", **facts)
    )
    (table,) = budget_tables(results)
    late, *others = table.table.rows
    assert (late.model.name, late.cells[0].aside) == ("late_cifar", "")
    assert (late.cells[1].text, late.cells[1].hint) == ("timeout", "slow")
    assert [row.cells[0].aside for row in others] == ["1", "2", "3"]
    assert [(remark.models, remark.probes) for remark in problems(results) if remark.status == "timeout"] == [
        (("late_cifar",), ("accuracy under 60s",))
    ]
    # Its failure under another budget does not mark the row of the first.
    assert results.cell("late_cifar", "top1").status == "ok"
    assert to_table(results).set_index("model").status["late_cifar"] == "ok"


def test_one_budget_has_no_such_table(read: Reader) -> None:
    rows = [*training("deep_cifar", 0.8), *training("cheap_cifar", 0.6)]
    results = read(rows)
    assert budget_tables(results) == []
    assert "other budgets" not in write_pages(results, [], [])[0]


def test_page_and_markdown_show_the_table_and_the_ranking(read: Reader) -> None:
    results = two_budgets(read)
    for text in write_pages(results, [], []):
        assert "under other budgets" in text
        assert "1, up 2" in text
        assert "order 0 of 3 pairs" in text
        assert "Which differences are significant" in text
        assert "ahead (p &lt; 0.001)" in text
