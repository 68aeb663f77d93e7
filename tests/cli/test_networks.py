"""The layer table adds up to what the probes report."""

import pytest

from bench.config import Task
from bench.models import REGISTRY
from bench.probes import MEASURE
from bench.probes.reading import Reading
from bench.runner.measure import layer_rows
from tests.configs import config

CONFIG = config()


@pytest.mark.parametrize(
    "name",
    [
        "lenet5_mnist",
        "resnet20_cifar",
        "vgg11_bn_cifar",
        "vit_tiny_cifar",
        "stochastic_depth_resnet110_cifar",
    ],
)
def test_columns_sum_to_the_metrics(name: str) -> None:
    spec = REGISTRY[name]
    rows, _ = layer_rows(spec)
    for metric in ("params", "macs", "activations", "saved_activation_bytes"):
        reading = MEASURE[metric](Task(spec, CONFIG)).readings[metric]
        assert isinstance(reading, Reading)
        assert sum(row[metric] for row in rows) == pytest.approx(reading.value, rel=1e-12), metric


def test_lenet5_reads_as_in_the_lecture_notes() -> None:
    rows = [row for row in layer_rows(REGISTRY["lenet5_mnist"])[0] if row["params"]]
    assert [tuple(row["output_shape"]) for row in rows] == [(6, 28, 28), (16, 10, 10), (120,), (84,), (10,)]
    assert [row["params"] for row in rows] == [156, 2_416, 48_120, 10_164, 850]
    assert [row["macs"] for row in rows] == [117_600, 240_000, 48_000, 10_080, 840]


def test_the_layers_that_a_run_keeps_are_those_of_the_table() -> None:
    spec = REGISTRY["resnet20_cifar"]
    assert list(MEASURE["saved_activation_bytes"](Task(spec, CONFIG)).tables["layers"]) == layer_rows(spec)[0]
