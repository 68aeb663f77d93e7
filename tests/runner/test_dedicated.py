"""What a run does on a device that nothing else uses, on an emulated one: its processes and rounds are as planned."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main
from bench.config import PRESETS, Track
from bench.engines.local import LocalMachine
from bench.models import REGISTRY
from bench.records.run_folder import Run
from bench.runner import execute
from bench.runner.execute import tasks_until_next_estimate
from bench.runner.plan import Pace, plan
from bench.runner.request import Request, resolve
from tests.emulated import at_work

NETWORKS = ("lenet5_mnist", "lenet5_cifar")


def test_a_network_is_measured_in_one_process_and_looked_at_again_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    fork: Any = LocalMachine._fork

    def counted(machine: Any, slot: Any, group: str) -> Any:
        started.append(group)
        return fork(machine, slot, group)

    small: dict[Track, int] = {"cifar": 4, "mnist": 4, "imagenet": 4}
    monkeypatch.setitem(PRESETS, "standard", replace(PRESETS["standard"], measure_seconds=0.01, batch_size=small))
    monkeypatch.setattr(LocalMachine, "_fork", counted)
    for kept in ("keep_limits", "keep_descriptions"):
        monkeypatch.setattr(execute, kept, lambda *_: None)
    with at_work():
        words = ["run", "--models", *NETWORKS, "--probes", "throughput", "latency", "--device", "emulated"]
        assert main([*words, "--run", "a", "--results-dir", str(tmp_path)]) == 0
    assert [group.partition(",")[0] for group in started] == [
        *(f"{name} measured" for name in NETWORKS),
        *(f"{name} throughput" for name in NETWORKS),
    ]
    run = Run.open(tmp_path, "a")
    rows = run.records()
    assert {row.status for row in rows if row.metric in ("train_images_per_s", "latency_ms")} == {"ok"}
    assert {row.round for row in rows if row.probe == "throughput"} == {0, 1}
    assert {row.round for row in rows if row.probe == "latency"} == {0}
    (session,) = run.header.sessions
    assert session.predicted.keys() == session.taken.keys() == {"throughput", "latency", "second look"}
    config = run.header.config
    assert config is not None
    assert Pace(config).processes(plan([REGISTRY[name] for name in NETWORKS], config))[0] == len(started)


@pytest.mark.parametrize(
    ("limit", "devices", "looks"), [(None, 1, [9]), (60.0, 1, [2, 2, *[1] * 5]), (60.0, 2, [8, 1])]
)
def test_under_a_time_limit_what_is_measured_of_a_network_shares_its_process(
    limit: float | None, devices: int, looks: list[int]
) -> None:
    config, _ = resolve(Request(seeds=2), ("throughput", "latency", "accuracy"), "cuda")
    config = replace(config, time_limit_s=limit)
    tasks = plan([REGISTRY[name] for name in NETWORKS], config)[:9]
    found = []
    while tasks:
        found.append(tasks_until_next_estimate(tasks, config, devices))
        tasks = tasks[found[-1] :]
    assert found == looks
