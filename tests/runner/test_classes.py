"""One network per row: counted, timed and trained with as many classes as its images have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.config import Task
from bench.models import REGISTRY, select
from bench.probes.gradient_flow import twin_of
from bench.records.record import Record
from bench.records.run_folder import Run
from bench.runner.execute import execute
from bench.runner.header import described
from bench.runner.request import Request, resolve
from tests.data.fakes import encoded, random_images

OWN = """
from torch import nn

def head(classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))

def thousand(num_classes=1000):
    return head(num_classes)

def ten():
    return head(10)

def many():
    return head(200)

def five():
    return head(5)
"""


@pytest.fixture
def arguments(in_this_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A folder of a hundred classes, and networks of one's own."""
    for split, count in (("train", 2), ("test", 1)):
        for label in range(100):
            folder = tmp_path / "hundred" / split / f"c{label:03}"
            folder.mkdir(parents=True)
            for number, image in enumerate(random_images(count, (3, 32, 32), seed=label)):
                (folder / f"{number}.png").write_bytes(encoded(image))
    (tmp_path / "heads.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return [
        *("run", "--dataset", str(tmp_path / "hundred"), "--budget", "0.1kimg", "--train-batch-size", "20"),
        *("--run", "a", "--results-dir", str(tmp_path / "results"), "--cache-dir", str(tmp_path / "cache")),
    ]


def test_counts_are_those_of_the_network_that_is_trained(tmp_path: Path, arguments: list[str]) -> None:
    own = ["lenet5_cifar", "heads:thousand", "heads:ten", "heads:many", "--input-size", "32"]
    assert main([*arguments, "--models", *own, "--probes", "params", "accuracy"]) == 1
    run = Run.open(tmp_path / "results", "a")
    rows: dict[tuple[str, str], Record] = {(row.model, row.metric): row for row in run.records()}
    assert rows["lenet5_cifar", "params"].value == 69_656 == 62_006 + 90 * 85
    assert rows["heads:thousand", "params"].value == 3 * 8 * 9 + 8 + 9 * 100
    assert rows["heads:ten", "params"].value == 3 * 8 * 9 + 8 + 9 * 10
    for trained, note in (("lenet5_cifar", ""), ("heads:thousand", ""), ("heads:many", "returns 200 classes")):
        assert rows[trained, "top1"].status == "ok"
        assert note in rows[trained, "top1"].note
    refused = rows["heads:ten", "top1"]
    assert refused.status == "failed"
    assert "the network returns 10 classes, its images have 100: let its factory take num_classes" in refused.note
    assert main([*arguments, "--probes", "macs"]) == 1  # nothing is trained now, but the run's networks were
    macs = {row.model: row.value for row in Run.open(tmp_path / "results", "a").records() if row.metric == "macs"}
    assert macs["heads:thousand"] == 15 * 15 * 8 * 27 + 8 * 100


def test_a_network_of_ones_own_has_as_many_classes_as_it_returns_where_nobody_says(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "heads:five", "--input-size", "32"]) == 0
    assert "5 classes" in capsys.readouterr().out
    (spec,) = select(["heads:five"], (3, 32, 32))
    assert described(spec).num_classes is None  # not known before it runs in a process of its own
    config, _ = resolve(Request(device="cpu", rounds=1, batch_size=2), ("throughput",), "cpu")
    rows = execute(Task(spec, config, ("throughput",)), "cpu").records
    (row,) = [row for row in rows if row.metric == "train_images_per_s"]
    assert row.status == "ok", row.note  # its labels are of five classes
    assert not select(["heads:five"], (3, 32, 32), num_classes=7)[0].guessed_classes
    assert not select(["heads:thousand"], (3, 32, 32))[0].guessed_classes


def test_a_run_of_another_number_of_classes_is_not_gone_on_with(
    arguments: list[str], refused: Callable[..., str]
) -> None:
    assert main([*arguments, "--models", "lenet5_cifar", "--probes", "params"]) == 0
    said = refused(*arguments, "--models", "lenet5_cifar", "--probes", "accuracy")
    assert "10 classes of lenet5_cifar (now 100): choose another --run" in said


def test_another_number_of_classes_than_the_images_have_is_refused(
    arguments: list[str], refused: Callable[..., str]
) -> None:
    own = ["heads:thousand", "--input-size", "32", "--num-classes", "7"]
    line = refused(*arguments, "--models", *own, "--probes", "accuracy")
    assert "--num-classes 7: heads:thousand is trained on images of 100 classes; leave it out" in line


def test_the_twin_of_a_residual_network_has_as_many_classes() -> None:
    twin = twin_of(replace(REGISTRY["resnet20_cifar"], num_classes=100))
    assert twin is not None
    assert (twin.name, twin.num_classes) == ("plain20_cifar", 100)
