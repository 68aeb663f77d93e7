"""Which neighbours a ranking tells apart: never more than chance among equals, and those that differ clearly."""

from __future__ import annotations

import numpy as np
import pytest

from bench.records.record import Record
from bench.render.findings.ranking import FAMILY_ERROR, neighbour_p_values, rankings
from bench.render.results import Cell, cells_of, read_results
from tests.render.conftest import RunBuilder, listed, training

NETWORKS, FAMILIES = 10, 200


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
    shares = np.clip(0.6 + spread * random.standard_normal((NETWORKS, seeds)), 0, 1)
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


def test_three_seeds_by_hand(build: RunBuilder) -> None:
    # Means 0.80 and 0.60, both with standard deviation 0.01: t = 0.2 / sqrt(2 * 0.0001 / 3) = 24.49 with 4 degrees
    # of freedom, p = 1.6e-5. The third equals the second.
    accuracies = {"a_cifar": (0.79, 0.80, 0.81), "b_cifar": (0.59, 0.60, 0.61), "c_cifar": (0.59, 0.60, 0.61)}
    rows = [
        row
        for name, values in accuracies.items()
        for seed, top1 in enumerate(values)
        for row in training(name, top1, seed=seed)
    ]
    (ranking,) = rankings(read_results(build([listed(name, "F", 2015, "cifar") for name in accuracies], rows)))
    assert [(placed.place, placed.model.name) for placed in ranking.placed] == [
        (1, "a_cifar"),
        (2, "b_cifar"),
        (2, "c_cifar"),
    ]
    first, second, last = ranking.placed
    assert first.p_value == pytest.approx(2 * 1.6477e-5, rel=1e-3)  # Holm: two neighbours
    assert (second.p_value, last.p_value) == (1.0, None)
    assert [[placed.model.name for placed in cluster] for cluster in ranking.clusters] == [
        ["a_cifar"],
        ["b_cifar", "c_cifar"],
    ]
    assert ranking.method.startswith("Each network against the next one below: Welch's")


def test_one_seed_is_tested_over_its_test_images_and_says_so(build: RunBuilder) -> None:
    # 620 against 580 of 1000: pooled 0.6, deviation sqrt(0.24 * 2 / 1000) = 0.021909, z = 1.8257, p = 0.0679.
    rows = [*training("a_cifar", 0.62, trials=1000), *training("b_cifar", 0.58, trials=1000)]
    models = [listed(name, "F", 2015, "cifar") for name in ("a_cifar", "b_cifar")]
    (ranking,) = rankings(read_results(build(models, rows)))
    assert ranking.placed[0].p_value == pytest.approx(0.0679, abs=1e-4)
    assert ranking.placed[0].verdict == "not significant (p = 0.068)"
    assert "does not know how much another seed" in ranking.method
    assert len(ranking.clusters) == 1


def test_networks_on_other_data_are_never_neighbours(build: RunBuilder) -> None:
    models = [listed(name, "F", 2015, "cifar") for name in ("a_cifar", "b_cifar", "c_cifar")]
    rows = [*training("a_cifar", 0.9), *training("b_cifar", 0.5), *training("c_cifar", 0.1, dataset="synthetic")]
    (ranking,) = rankings(read_results(build(models, rows)))
    assert [placed.model.name for placed in ranking.placed] == ["a_cifar", "b_cifar"]
