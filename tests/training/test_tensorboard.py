"""What TensorBoard reads back is the curve."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.config import Inputs, RequestError, Task
from bench.engines.local import LocalMachine
from bench.records.run_folder import Run
from bench.records.run_json import RunHeader
from bench.runner.execute import Outcome, run_tasks
from bench.runner.plan import plan
from bench.training.schedule import require_tensorboard, write_events
from tests.probes.test_accuracy import CONFIG, SPEC, image_set

CURVE: list[dict[str, Any]] = [
    {"images": 100, "seconds": 1.5, "flops": 1e9, "epoch": 0.5, "train_loss": 2.25, "test_top1": None},
    {"images": 200, "seconds": 3.0, "flops": 2e9, "epoch": 1.0, "train_loss": 1.5, "test_top1": 0.75},
]


def test_events_are_the_points_of_the_curve(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write_events(CURVE[:1], tmp_path / "events")
    write_events(CURVE, tmp_path / "events")  # in place of the first
    read = event_accumulator.EventAccumulator(str(tmp_path / "events"))
    read.Reload()
    assert sorted(read.Tags()["scalars"]) == ["accuracy/test", "loss/train"]
    losses, tests = read.Scalars("loss/train"), read.Scalars("accuracy/test")
    assert [(event.step, event.value) for event in losses] == [(100, 2.25), (200, 1.5)]
    assert [(event.step, event.value) for event in tests] == [(200, 0.75)]
    assert losses[1].wall_time - losses[0].wall_time == pytest.approx(1.5, abs=1e-3)


def test_without_the_package_the_request_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"--tensorboard needs TensorBoard.*pip install 'tensorboard>=2.16,<3'"):
        require_tensorboard()


def test_a_run_writes_the_events_of_its_trainings(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "images").mkdir()
    config, inputs = replace(CONFIG, tensorboard=True), Inputs({"cifar": image_set(tmp_path / "images")})
    run = Run.create(tmp_path, "a", RunHeader())
    place: LocalMachine[Task, Outcome] = LocalMachine(("cpu",), tmp_path / "workers.log")
    run_tasks(run, plan([SPEC], config, inputs), place, None, lambda task, device: None, lambda task, outcome: None)
    (folder,) = (run.folder / "tensorboard").iterdir()
    assert folder.name == "lenet5_cifar-seed0"
    (events,) = folder.iterdir()
    assert events.stat().st_size > 0
