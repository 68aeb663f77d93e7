"""Planning, resuming, and turning whatever happens into rows."""

import gc
import itertools
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.config import Budget, Task
from bench.metrics import METRICS, PROBES, Metric, Probe, metrics_of, probe_named
from bench.models import REGISTRY, ModelSpec, select
from bench.probes import MEASURE
from bench.probes.reading import Measurement, Reading
from bench.records.record import Record
from bench.runner.execute import PRELOAD, execute, preload_for
from bench.runner.plan import plan, remaining
from tests.configs import config
from tests.own_network import own_spec
from tests.rows import ok

ROOT = Path(__file__).resolve().parents[2]
CONFIG = config("params", "macs", "accuracy", seeds=2)
SPECS = (REGISTRY["lenet5_cifar"], REGISTRY["resnet20_cifar"])


def refuses(num_classes: int) -> nn.Module:
    raise RuntimeError("no such layer\nsecond line")


def out_of_memory(num_classes: int) -> nn.Module:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 PiB")


def fine(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes))


def rows_of(spec: ModelSpec, probe: str) -> Sequence[Record]:
    return execute(Task(spec, CONFIG, (probe,)), "cpu").records


def test_static_probes_come_first_and_only_accuracy_has_seeds() -> None:
    tasks = plan(SPECS, CONFIG)
    assert [(task.spec.name, task.probes, task.seed) for task in tasks] == [
        ("lenet5_cifar", ("params", "macs"), 0),
        ("resnet20_cifar", ("params", "macs"), 0),
        ("lenet5_cifar", ("accuracy",), 0),
        ("resnet20_cifar", ("accuracy",), 0),
        ("lenet5_cifar", ("accuracy",), 1),
        ("resnet20_cifar", ("accuracy",), 1),
    ]


def test_timings_come_in_rounds_over_all_networks_each_in_its_own_order() -> None:
    specs = tuple(REGISTRY.values())[:20]
    config = replace(CONFIG, probes=("throughput", "latency", "best_batch"), rounds=3)
    tasks = plan(specs, config)
    names = [spec.name for spec in specs]
    rounds = [[task.spec.name for task in tasks if task.round == n and "latency" in task.probes] for n in range(3)]
    assert [sorted(order) for order in rounds] == [sorted(names)] * 3
    assert len({tuple(order) for order in [*rounds, names]}) == 4
    assert plan(specs, config) == tasks  # a resumed run goes on in the same order
    assert len({task.group for task in tasks}) == len(tasks)  # a fresh process for each


def test_on_a_dedicated_device_a_network_is_measured_in_one_process_and_some_are_looked_at_again() -> None:
    specs = tuple(REGISTRY.values())[:20]
    probes = ("macs", "throughput", "latency", "best_batch", "memory", "energy", "accuracy")
    config = replace(CONFIG, probes=probes, rounds=1, dedicated=True, seeds=2)
    tasks = plan(specs, config)
    groups = [group for group, _ in itertools.groupby(tasks, key=lambda task: task.group)]
    assert groups == [
        "counts of networks of the suite",
        *(f"{spec.name} measured" for spec in specs),
        *(f"{spec.name} trained" for spec in specs),
        *(
            f"{spec.name} throughput, round 2, round 1"
            for spec in specs
            if any(spec is task.spec and task.second_look for task in tasks)
        ),
    ]
    first = [task.probes[0] for task in tasks if task.group == f"{specs[0].name} measured"]
    assert first == ["throughput", "latency", "energy", "memory", "best_batch"]
    again = [task for task in tasks if task.second_look]
    assert [task.with_peak for task in again] == [True] + [False] * 7
    assert {(task.round, task.measure_seconds) for task in again} == {(1, CONFIG.measure_seconds / 4)}
    asked = plan(specs, replace(config, rounds=3))  # whoever asks for rounds gets them, and needs no second look
    assert [task.round for task in asked if "throughput" in task.probes] == [0] * 20 + [1] * 20 + [2] * 20
    assert not any(task.second_look for task in asked)


def test_rounds_are_spread_over_the_whole_run_by_the_time_that_the_rest_takes() -> None:
    config = replace(CONFIG, probes=("macs", "throughput", "memory", "accuracy"), budget=Budget(60, "s"), rounds=5)
    tasks = plan(SPECS, config)
    assert [(task.probes[0], task.round, task.seed) for task in tasks] == [
        *[("macs", 0, 0)] * 2,
        *[("throughput", 0, 0)] * 2,
        *[("memory", 0, 0)] * 2,
        ("accuracy", 0, 0),
        *[("throughput", 1, 0)] * 2,  # a training of a minute, not the second network's memory, is what lies between
        ("accuracy", 0, 0),
        *[("throughput", 2, 0)] * 2,
        ("accuracy", 0, 1),
        *[("throughput", 3, 0)] * 2,
        ("accuracy", 0, 1),
        *[("throughput", 4, 0)] * 2,
    ]


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_run_with_little_else_has_all_of_its_rounds(rounds: int) -> None:
    for probes in (("throughput",), ("throughput", "memory"), ("throughput", "memory", "accuracy")):
        tasks = plan(SPECS[:1], replace(CONFIG, probes=probes, rounds=rounds, seeds=1))
        assert [task.round for task in tasks if "throughput" in task.probes] == list(range(rounds))
        assert tasks[0].probes[0] == "throughput"
        assert len(tasks) == rounds + len(probes) - 1


def test_every_network_is_trained_under_every_budget() -> None:
    config = replace(CONFIG, probes=("params", "accuracy"), other_budgets=(Budget(60, "s"),), seeds=2)
    tasks = [task for task in plan(SPECS, config) if "accuracy" in task.probes]
    assert [(task.seed, str(task.budget), task.spec.name) for task in tasks] == [
        (seed, budget, spec.name) for seed in range(2) for budget in ("1ep", "60s") for spec in SPECS
    ]
    assert [task.label for task in tasks[4:7:2]] == [
        "lenet5_cifar accuracy (seed 1)",
        "lenet5_cifar accuracy (seed 1) under 60s",
    ]
    assert [task.curve_kind for task in tasks[4:7:2]] == ["seed1", "seed1-60s"]
    assert len({task.label for task in tasks}) == len({task.group for task in tasks}) == 8
    # What is there under one budget is still to do under the other.
    records = [record for task in tasks[:2] for record in execute(task, "cpu").records]
    assert {record.status for record in records} == {"skipped"}  # this run has no images
    assert remaining(tasks, records, retry_failed=False) == tasks[2:]


def test_every_round_measures_the_peak_again_beside_what_is_compared_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, probes=("macs", "throughput", "latency", "memory"), rounds=3)
    tasks = plan(SPECS, config)
    assert [task.round for task in tasks if task.with_peak] == [1, 2]  # before the first one, a run measures it anyway
    assert not any(task.with_peak for task in plan(SPECS, replace(config, probes=("latency",))))

    rates = {"peak_flops_per_s": 2e12, "peak": "now", "peak_samples": [2e12]}
    rates |= {"bandwidth_bytes_per_s": 1e10, "bandwidth": "now", "bandwidth_samples": [1e10]}
    monkeypatch.setattr("bench.runner.execute.measure_limits", lambda task, device: rates)
    (timed,) = (task for task in tasks if task.with_peak and task.round == 1)
    outcome = execute(replace(timed, spec=own_spec(fine)), "cpu")
    assert (dict(outcome.limits), {row.round for row in outcome.records}) == ({"cpu": rates}, {1})
    monkeypatch.setattr("bench.runner.execute.measure_limits", lambda task, device: 1 / 0)
    assert not execute(replace(timed, spec=own_spec(fine)), "cpu").limits


def test_networks_that_are_only_counted_need_no_device() -> None:
    config = replace(CONFIG, probes=("macs", "throughput", "accuracy"), counted=("resnet20_cifar",))
    assert {task.probes for task in plan(SPECS, config) if task.spec.name == "resnet20_cifar"} == {("macs",)}
    assert {task.probes[0] for task in plan(SPECS, config) if task.spec.name == "lenet5_cifar"} == set(config.probes)


@pytest.mark.parametrize("probe", PROBES)
def test_every_probe_is_planned_as_one_kind_and_has_its_code_and_its_metrics(probe: str) -> None:
    config = replace(CONFIG, probes=(probe,), rounds=5, other_budgets=(Budget(60, "s"),), seeds=3)
    tasks = plan(SPECS[:1], config)
    times = {"static": 1, "forecast": 1, "once": 1, "rounds": 5, "seeds": 3 * 2}
    assert len(tasks) == times[PROBES[probe].when]
    assert {task.static for task in tasks} == {PROBES[probe].when == "static"}
    assert callable(MEASURE[probe])
    assert metrics_of(probe)


def test_a_new_exact_measurement_is_a_file_a_row_and_its_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = Metric("layers", "depth", "count", "Layers", "lower", "Layers with weights.")
    monkeypatch.setitem(PROBES, "depth", Probe("depth", "static", "fp32"))
    monkeypatch.setitem(METRICS, "layers", metric)
    monkeypatch.setitem(MEASURE, "depth", lambda task: Measurement({"layers": Reading(5.0)}))
    config = replace(CONFIG, probes=("depth", "throughput"), rounds=2)
    counted, *timed = plan(SPECS[:1], config)
    assert (counted.probes, counted.static, len(timed)) == (("depth",), True, 2)
    (row,) = execute(counted, "cpu").records
    assert (row.metric, row.value, row.unit, row.hardware, row.precision) == ("layers", 5.0, "count", "", "fp32")
    assert probe_named(row.probe).exact


def test_what_is_done_is_not_done_again() -> None:
    tasks = plan(SPECS, CONFIG)
    records = [
        ok("lenet5_cifar", "params", 62_006),
        *(
            Record("lenet5_cifar", "accuracy", metric, None, "", "failed", "killed", seed=1, budget="1ep")
            for metric in metrics_of("accuracy")
        ),
        # The task's other rows are lost.
        ok("resnet20_cifar", "top1", 0.5, seed=0, budget="1ep"),
    ]
    left = remaining(tasks, records, retry_failed=False)
    assert [(t.spec.name, t.probes, t.seed) for t in left] == [
        ("lenet5_cifar", ("macs",), 0),
        ("resnet20_cifar", ("params", "macs"), 0),
        ("lenet5_cifar", ("accuracy",), 0),
        ("resnet20_cifar", ("accuracy",), 0),
        ("resnet20_cifar", ("accuracy",), 1),
    ]
    again = remaining(tasks, records, retry_failed=True)
    assert ("lenet5_cifar", ("accuracy",), 1) in [(t.spec.name, t.probes, t.seed) for t in again]


def test_a_measured_row_says_how_it_was_measured() -> None:
    (row,) = rows_of(REGISTRY["resnet20_cifar"], "params")
    assert (row.status, row.value, row.unit, row.device) == ("ok", 269_722, "count", "meta")
    rows = rows_of(own_spec(fine), "throughput")
    assert {row.metric: row.status for row in rows} == {
        "inference_images_per_s": "ok",
        "inference_device_ms": "skipped",
        "train_images_per_s": "ok",
        "train_device_ms": "skipped",
        "train_forward_ms": "ok",
        "train_backward_ms": "ok",
        "train_optimizer_ms": "ok",
    }
    for row in rows:
        if row.status == "skipped":
            continue
        assert (row.device, row.batch_size, row.precision) == ("cpu", 2, "fp32")
        assert len(row.samples) >= 5
        assert min(row.samples) <= (row.value or 0) <= max(row.samples)


@pytest.mark.parametrize(
    ("network", "status", "note"),
    [
        (refuses, "failed", "RuntimeError: no such layer"),
        (out_of_memory, "oom", "OutOfMemoryError: CUDA out of memory"),
    ],
)
def test_whatever_goes_wrong_is_a_row_per_metric(network: Callable[[int], nn.Module], status: str, note: str) -> None:
    rows = rows_of(own_spec(network), "throughput")
    assert [row.metric for row in rows] == list(metrics_of("throughput"))
    assert {row.status for row in rows} == {status}
    assert all(row.note.startswith(note) for row in rows)
    assert all("\n" not in row.note for row in rows)


def test_a_probe_that_does_not_apply_is_skipped_with_its_reason() -> None:
    rows = rows_of(replace(REGISTRY["resnet20_cifar"], track="imagenet"), "accuracy")
    assert {row.status for row in rows} == {"skipped"}
    assert "imagenet" in rows[0].note


def test_a_value_that_is_no_number_is_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEASURE, "params", lambda task: Measurement({"params": Reading(float("nan"))}))
    (row,) = rows_of(SPECS[0], "params")
    assert (row.status, row.value, row.note) == ("failed", None, "the value is nan")


@pytest.fixture
def unfrozen() -> Iterator[None]:
    """The collector as a program finds it; tests/conftest.py spares it what is loaded."""
    gc.unfreeze()
    yield
    gc.freeze()


def test_the_collector_looks_at_what_a_probe_has_made_only(unfrozen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    made: list[weakref.ref[Cycle]] = []

    def probe(task: Task) -> Measurement:
        made.append(weakref.ref(Cycle()))
        made.append(weakref.ref(kept))
        return Measurement({"params": Reading(float(len(gc.get_objects(generation=2))))})

    kept = Cycle()
    monkeypatch.setitem(MEASURE, "params", probe)
    (row,) = rows_of(SPECS[0], "params")
    assert row.value is not None
    assert row.value < 0.1 * len(gc.get_objects())  # of PyTorch's own, which takes longer to look through than to count
    assert [ref() for ref in made] == [None, kept]
    assert gc.get_freeze_count() == 0  # as it was
    gc.freeze()
    frozen = gc.get_freeze_count()
    rows_of(SPECS[0], "params")
    assert gc.get_freeze_count() <= frozen  # nothing that is garbage by now stays for good
    assert made[2]() is None


def test_workers_start_with_the_library_that_a_network_comes_from() -> None:
    assert preload_for(SPECS) == PRELOAD
    assert preload_for(select(["torchvision:resnet18", "lenet5_cifar"])) == (*PRELOAD, "torchvision")
    theirs = replace(SPECS[0], name="timm:resnet18", family="timm")
    assert preload_for([theirs, theirs]) == (*PRELOAD, "timm")


def test_the_server_that_workers_are_forked_from_leaves_cuda_alone() -> None:
    """Once CUDA has been asked for anything, no process that is forked can use it."""
    program = f"""
import importlib, os, torch
for module in {PRELOAD}:
    importlib.import_module(module)
if (child := os.fork()) == 0:
    os._exit(torch.cuda._is_in_bad_fork())
assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
