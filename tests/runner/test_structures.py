"""The structure of one network of each family, kept for the report."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.engines.engine import Crash, Stop
from bench.models import REGISTRY, select
from bench.records.run_folder import Run
from bench.records.run_json import RunHeader
from bench.runner.beside import DescribeTask, describe, keep_descriptions, representatives
from bench.runner.measure import network_row
from bench.structure import Structure


@dataclass
class Here:
    """A workplace that runs everything in this process, the last task first; what raises has crashed."""

    asked: list[str] = field(default_factory=list)
    execute: Callable[[DescribeTask, str], dict[str, Any]] = describe

    def engine(self, execute: Callable[..., Any], needs_device: bool, tasks: int) -> Here:
        assert not needs_device
        return self

    def run(
        self,
        tasks: Sequence[DescribeTask],
        timeout_s: float | None,
        on_start: Callable[[DescribeTask, str], object],
        stop: Stop | None = None,
    ) -> Generator[tuple[DescribeTask, dict[str, Any] | Crash]]:
        for task in reversed(tasks):
            self.asked.append(task.spec.name)
            try:
                yield task, self.execute(task, "meta")
            except RuntimeError as error:
                yield task, Crash("failed", str(error), 0.0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path, "fixture", RunHeader())


def test_the_first_of_each_family_stands_for_it() -> None:
    names = ["vgg16_bn", "resnet50", "resnet20_cifar", "lenet5_mnist", "lenet5_cifar"]
    found = [spec.name for spec in representatives([REGISTRY[name] for name in names])]
    assert found == ["vgg16_bn", "resnet50", "lenet5_mnist"]


def test_each_network_of_a_users_own_stands_for_itself() -> None:
    own = select(["torchvision:mobilenet_v3_small", "torchvision:mobilenet_v3_large"], None, None)
    assert representatives(own) == list(own)
    assert len({DescribeTask(spec).group for spec in own}) == 2  # a process each


def test_what_is_kept_adds_up(run: Run) -> None:
    spec = REGISTRY["lenet5_cifar"]
    keep_descriptions(run, Here(), [spec])
    entry = run.networks()["lenet5_cifar"]
    structure = Structure.from_json(entry["structure"])
    expected = network_row(spec)
    assert (structure.params, structure.macs) == (expected["params"], expected["macs"])


def test_a_resumed_run_keeps_what_it_has_and_the_order_of_the_networks(run: Run) -> None:
    place = Here()
    keep_descriptions(run, place, [REGISTRY["lenet5_mnist"]])
    keep_descriptions(run, place, [REGISTRY[name] for name in ("lenet5_mnist", "cnn_mnist", "alexnet_cifar")])
    assert place.asked == ["lenet5_mnist", "alexnet_cifar", "cnn_mnist"]
    assert list(run.networks()) == ["lenet5_mnist", "cnn_mnist", "alexnet_cifar"]


def test_a_network_that_fails_has_its_reason_and_is_not_tried_again(run: Run) -> None:
    def fail(task: DescribeTask, device: str) -> dict[str, Any]:
        raise RuntimeError("no such layer")

    place = Here(execute=fail)
    for _ in range(2):
        keep_descriptions(run, place, [REGISTRY["lenet5_mnist"]])
    assert run.networks() == {"lenet5_mnist": {"reason": "no such layer"}}
    assert place.asked == ["lenet5_mnist"]


def test_a_damaged_file_is_made_anew(run: Run) -> None:
    (run.folder / "networks.json").write_text("{")
    keep_descriptions(run, Here(), [REGISTRY["lenet5_mnist"]])
    assert list(run.networks()) == ["lenet5_mnist"]
