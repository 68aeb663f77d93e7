"""What every network of the registry costs, to the last digit: any change fails, and is renewed only on purpose.

    python -m pytest tests/golden --renew-golden     write counts.json anew; its diff says what changed

Oracles for these numbers are in tests/models and tests/probes; this file notices what they do not look at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


def changed_metrics(name: str, mutated: ModelSpec, golden: dict[str, Counts]) -> set[str]:
    return {line.removeprefix(f"{name}: ").split()[0] for line in complaints(name, golden[name], counts_of(mutated))}


def test_a_changed_stride_is_caught(golden: dict[str, Counts]) -> None:
    spec = REGISTRY["resnet20_cifar"]

    def build(num_classes: int) -> nn.Module:
        network = spec.build(num_classes=num_classes)
        first = next(m for m in network.modules() if isinstance(m, nn.Conv2d) and m.stride == (1, 1))
        first.stride = (2, 2)
        return network

    mutated = replace(spec, build=build)
    assert changed_metrics(spec.name, mutated, golden) == {"macs", "activations", "saved_activation_bytes"}


def test_a_lost_bias_is_caught(golden: dict[str, Counts]) -> None:
    spec = REGISTRY["vgg16"]

    def build(num_classes: int) -> nn.Module:
        network = spec.build(num_classes=num_classes)
        next(m for m in network.modules() if isinstance(m, nn.Conv2d)).bias = None
        return network

    assert changed_metrics(spec.name, replace(spec, build=build), golden) == {"params"}


def test_a_lost_attention_product_is_caught(golden: dict[str, Counts], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both products of one attention, of queries with keys and of weights with values, or only the first of them."""
    spec = REGISTRY["vit_tiny_cifar"]
    fresh = replace(spec, build=lambda num_classes: spec.build(num_classes=num_classes))

    def no_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return value + query + key

    monkeypatch.setattr(F, "scaled_dot_product_attention", no_products)
    assert {"macs", "activations"} <= changed_metrics(spec.name, fresh, golden)

    def one_product(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return torch.softmax(query @ key.transpose(-2, -1), dim=-1).mean(-1, keepdim=True) * value

    monkeypatch.setattr(F, "scaled_dot_product_attention", one_product)
    other = replace(spec, build=lambda num_classes: spec.build(num_classes=num_classes))
    assert {"macs", "activations"} <= changed_metrics(spec.name, other, golden)


def test_a_complaint_names_network_metric_and_both_numbers() -> None:
    before: Counts = {"params": 61706, "macs": 416520, "activations": 6508, "saved_activation_bytes": 49088}
    assert complaints("lenet5_mnist", before, {**before, "macs": 416000}) == [
        "lenet5_mnist: macs was 416,520 and is 416,000"
    ]
    assert complaints("lenet5_mnist", before, dict(before)) == []
