"""What a run keeps beside its rows: the state of the machine at every start, limits once, structures."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.config import group_without_device
from bench.device import environment
from bench.engines import Crash
from bench.engines.local import LocalMachine
from bench.models import REGISTRY, ModelSpec, select
from bench.records.run_folder import Run, RunHeader
from bench.runner.kept import keep_descriptions, keep_faster_limits, keep_limits, representatives, session_kept
from bench.runner.measure import network_row
from bench.structure import Structure
from tests.configs import new_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return new_run(tmp_path, "a", RunHeader(name="a"))


def stored(run: Run) -> RunHeader:
    return Run.open(run.folder.parent, run.name).header


def test_every_start_of_a_run_adds_the_state_of_the_machine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter({"load_average_1min": float(n)} for n in range(4))
    monkeypatch.setattr(environment, "machine_state", lambda devices, idle=False: next(states))
    for _ in range(2):
        with run.writer(), session_kept(run, ["cpu"]):
            pass
    first, second = stored(run).sessions
    assert (first.before, first.after) == ({"load_average_1min": 0.0}, {"load_average_1min": 1.0})
    assert (second.before, second.after) == ({"load_average_1min": 2.0}, {"load_average_1min": 3.0})
    assert first.started <= first.ended <= second.started
    assert stored(run).name == "a"


def interrupted(run: Run) -> None:
    with run.writer(), session_kept(run, ["cpu"]):
        (under_way,) = stored(run).sessions
        assert (under_way.ended, under_way.after) == ("", {})
        raise KeyboardInterrupt


def test_the_state_before_is_there_while_it_works_and_that_after_also_if_it_is_interrupted(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(run)
    (ended,) = stored(run).sessions
    assert ended.started
    assert ended.ended
    assert ended.before
    assert ended.after


def answers(precision: str, device: str) -> dict:
    return {"precision": precision, "peak_flops_per_s": 1e12, "process": os.getpid()}


def dies(precision: str, device: str) -> dict:
    os.abort()


def place(run: Run) -> LocalMachine:
    return LocalMachine(("cpu",), run.folder / "workers.log", preload=("bench.device.peaks",))


def test_limits_are_measured_elsewhere_again_if_that_failed_and_never_more_than_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run.writer():
        monkeypatch.setattr("bench.runner.kept.measure_limits", dies)
        keep_limits(run, place(run), ["cpu"], "bf16")
        failed = stored(run).limits["cpu"]
        assert failed["precision"] == "bf16"
        assert "SIGABRT" in failed["reason"]

        monkeypatch.setattr("bench.runner.kept.measure_limits", answers)
        keep_limits(run, place(run), ["cpu"], "bf16")
        measured = stored(run).limits["cpu"]
        assert measured["peak_flops_per_s"] == 1e12
        assert measured["process"] != os.getpid()
        assert "reason" not in measured

        monkeypatch.setattr("bench.runner.kept.measure_limits", dies)
        keep_limits(run, place(run), ["cpu"], "bf16")
        assert stored(run).limits["cpu"] == measured


def test_a_later_round_replaces_the_limits_that_were_measured_in_a_slow_minute(run: Run) -> None:
    def limits(peak: float, bandwidth: float, name: str) -> dict:
        rates = {"peak_flops_per_s": peak, "peak": name, "peak_samples": [peak], "vendor_source": "a data sheet"}
        return rates | {"bandwidth_bytes_per_s": bandwidth, "bandwidth": name, "bandwidth_samples": [bandwidth]}

    with run.writer():
        keep_faster_limits(run, {"cpu": {"precision": "fp32", "reason": "stopped"} | limits(1e11, 1e10, "first")})
        keep_faster_limits(run, {"cpu": limits(3e11, 0.5e10, "second")})
        keep_faster_limits(run, {"cpu": limits(2e11, 2e10, "third")})
        keep_faster_limits(run, {})
    kept = stored(run).limits["cpu"]
    assert (kept["peak_flops_per_s"], kept["peak"], kept["peak_samples"]) == (3e11, "second", [3e11])
    assert (kept["bandwidth_bytes_per_s"], kept["bandwidth"]) == (2e10, "third")
    assert kept["precision"] == "fp32"


@dataclass
class Here:
    """An executor that runs everything in this process, the last task first; what raises has crashed."""

    asked: list[str] = field(default_factory=list)

    def run(
        self,
        execute: Any,
        tasks: Any,
        timeout_s: Any = None,
        on_start: Any = None,
        stop: Any = None,
        *,
        needs_device: bool = True,
    ) -> Generator[Any]:
        assert not needs_device
        for task in reversed(tasks):
            self.asked.append(task.arguments[0].name)
            try:
                yield task, execute(task, "meta")
            except RuntimeError as error:
                yield task, Crash("failed", str(error), 0.0)


def test_the_first_of_each_family_stands_for_it() -> None:
    names = ["vgg16_bn", "resnet50", "resnet20_cifar", "lenet5_mnist", "lenet5_cifar"]
    found = [spec.name for spec in representatives([REGISTRY[name] for name in names])]
    assert found == ["vgg16_bn", "resnet50", "lenet5_mnist"]


def test_each_network_of_a_users_own_stands_for_itself() -> None:
    own = select(["torchvision:mobilenet_v3_small", "torchvision:mobilenet_v3_large"], None, None)
    assert representatives(own) == list(own)
    assert len({group_without_device("descriptions", spec) for spec in own}) == 2  # a process each


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


def test_a_network_that_fails_has_its_reason_and_is_not_tried_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(spec: ModelSpec, device: str) -> dict[str, Any]:
        raise RuntimeError("no such layer")

    monkeypatch.setattr("bench.runner.kept.describe", fail)
    place = Here()
    for _ in range(2):
        keep_descriptions(run, place, [REGISTRY["lenet5_mnist"]])
    assert run.networks() == {"lenet5_mnist": {"reason": "no such layer"}}
    assert place.asked == ["lenet5_mnist"]


def test_of_a_whole_library_a_few_are_drawn_and_the_others_say_how(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.runner.kept.MOST_DESCRIBED", 1)
    place = Here()
    keep_descriptions(run, place, [REGISTRY[name] for name in ("lenet5_mnist", "cnn_mnist", "alexnet_cifar")])
    assert place.asked == ["lenet5_mnist"]
    kept = run.networks()
    assert list(kept) == ["lenet5_mnist", "cnn_mnist", "alexnet_cifar"]
    assert "show NAME --diagram" in kept["cnn_mnist"]["reason"]


def test_a_damaged_file_is_made_anew(run: Run) -> None:
    (run.folder / "networks.json").write_text("{")
    keep_descriptions(run, Here(), [REGISTRY["lenet5_mnist"]])
    assert list(run.networks()) == ["lenet5_mnist"]
