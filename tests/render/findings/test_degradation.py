"""Whether deeper networks train worse: said from the four accuracies, with an interval, or not said at all."""

from __future__ import annotations

import pytest

from bench.render.findings.ranking import NETWORKS, degradation
from bench.render.results import read_results
from tests.render.conftest import RunBuilder, listed, training

MODELS = [listed(name, name[:5], 2015, "cifar") for name in NETWORKS]


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
def test_the_verdict_follows_the_intervals(build: RunBuilder, accuracies: tuple[float, ...], words: str) -> None:
    rows = [row for name, top1 in zip(NETWORKS, accuracies, strict=True) for row in training(name, top1)]
    (sentence,) = degradation(read_results(build(MODELS, rows)))
    assert words in sentence


def test_the_interval_of_three_seeds_by_hand(build: RunBuilder) -> None:
    # Standard deviations 0.01: standard error 0.0081650 with 4 degrees of freedom, t = 2.77645: 0.1 +- 0.02267.
    rows = [
        row
        for name, middle in zip(NETWORKS, (0.8, 0.7, 0.8, 0.8), strict=True)
        for seed in range(3)
        for row in training(name, middle + 0.01 * (seed - 1), seed=seed)
    ]
    (sentence,) = degradation(read_results(build(MODELS, rows)))
    assert "10.0 percentage points below (95 % interval 7.7 to 12.3) plain-20" in sentence


def test_three_networks_are_no_experiment(build: RunBuilder) -> None:
    rows = [row for name in NETWORKS[:3] for row in training(name, 0.8)]
    assert degradation(read_results(build(MODELS, rows))) == []
