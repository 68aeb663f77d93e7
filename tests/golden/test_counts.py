"""What every network of the registry costs, to the last digit: any change fails, and is renewed only on purpose.

    python -m pytest tests/golden --renew-golden     write counts.json anew; its diff says what changed

Oracles for these numbers are in tests/models and tests/probes; this file notices what they do not look at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.config import Task
from bench.models import REGISTRY, ModelSpec
from bench.probes import MEASURE
from bench.probes.reading import Reading
from tests.configs import config

FILE = Path(__file__).with_name("counts.json")
METRICS = ("params", "macs", "activations", "saved_activation_bytes")  # named as the probes that count them
RENEW = "python -m pytest tests/golden --renew-golden"

Counts = dict[str, float]


def counts_of(spec: ModelSpec) -> Counts:
    counts: Counts = {}
    for metric in METRICS:
        reading = MEASURE[metric](Task(spec, config())).readings[metric]
        assert isinstance(reading, Reading)
        counts[metric] = int(reading.value) if reading.value == int(reading.value) else reading.value
    return counts


def complaints(name: str, golden: Counts, now: Counts) -> list[str]:
    """A line for every metric that changed, with both numbers."""
    return [
        f"{name}: {metric} was {golden[metric]:,} and is {now[metric]:,}"
        for metric in METRICS
        if golden[metric] != now[metric]
    ]


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> Iterator[dict[str, Counts]]:
    """The counts as committed; with --renew-golden the tests overwrite them, and what they wrote is kept."""
    table: dict[str, Counts] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    yield table
    if request.config.getoption("--renew-golden"):
        rows = [f"  {json.dumps(name)}: {json.dumps(table[name])}" for name in REGISTRY if name in table]
        FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


@pytest.mark.parametrize("name", REGISTRY)
def test_nothing_has_changed(name: str, golden: dict[str, Counts], request: pytest.FixtureRequest) -> None:
    now = counts_of(REGISTRY[name])
    if request.config.getoption("--renew-golden"):
        golden[name] = now
        return
    assert name in golden, f"{name} is new: {RENEW}"
    found = complaints(name, golden[name], now)
    assert not found, "; ".join(found) + f"; if that is meant: {RENEW}"


def test_every_golden_network_still_exists(golden: dict[str, Counts], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--renew-golden"):
        pytest.skip("those that do not are left out of the new file")
    assert set(golden) <= set(REGISTRY), f"gone: {set(golden) - set(REGISTRY)}; if that is meant: {RENEW}"


def test_a_complaint_names_network_metric_and_both_numbers() -> None:
    before: Counts = {"params": 61706, "macs": 416520, "activations": 6508, "saved_activation_bytes": 49088}
    assert complaints("lenet5_mnist", before, {**before, "macs": 416000}) == [
        "lenet5_mnist: macs was 416,520 and is 416,000"
    ]
    assert complaints("lenet5_mnist", before, dict(before)) == []
