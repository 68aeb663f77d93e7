"""The cluster as an engine: on two real Ray nodes of this machine, and on simulated nodes of any number.

Whole runs of the command line on Ray take minutes and are marked perf.
"""

from __future__ import annotations

import heapq
import os
import pickle
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import pytest
import torch

from bench.data.cache import load_or_decode
from bench.data.image_set import Decoded, ImageSet, Labelled, Source
from bench.engines import Crash, EngineLost
from bench.records.record import Record
from bench.records.run_folder import Run, RunHeader
from tests.configs import new_run
from tests.engines.ray_tasks import Images, as_it_is, look, visible_gpu, with_images
from tests.engines.test_local import Job, execute, pid

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # see ray_nodes; Ray reads it when it is imported
cluster_engine: Any = pytest.importorskip("bench.engines.ray", reason="Ray is not installed", exc_type=ImportError)

ROOT = Path(__file__).resolve().parents[2]
HERE = {**os.environ, "OMP_NUM_THREADS": "1"}
PLAN = ["--models", "lenet5_cifar", "lenet5_mnist", "cnn_mnist", "resnet20_cifar"]
COUNTS = ["--probes", "params", "macs", "activations", "throughput", "--rounds", "2"]


@contextmanager
def two_nodes(gpus: int = 0) -> Iterator[tuple[str, IO[str]]]:
    """The address of a cluster, and where to write what its nodes are to do."""
    command = [sys.executable, str(Path(__file__).with_name("ray_nodes.py")), str(gpus)]
    nodes = subprocess.Popen(command, env=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert nodes.stdin is not None
    assert nodes.stdout is not None
    try:
        yield nodes.stdout.readline().strip(), nodes.stdin
    finally:
        nodes.communicate()


def tiny_images(cache: Path) -> ImageSet:
    pixels, labels = np.zeros((2, 1, 4, 4), np.uint8), np.zeros(2, np.int64)
    split = Labelled(pixels, labels)
    source = Source("a test", ("tiny",), lambda: Decoded("tiny", ("0",), True, split, split))
    return load_or_decode(source, cache, lambda line: None)


def test_two_nodes_isolate_tasks_bring_images_once_and_one_of_them_may_be_killed(tmp_path: Path) -> None:
    """One test, for starting Ray takes longer than all of this."""
    image_set = tiny_images(tmp_path / "here")
    with two_nodes() as (address, orders):
        cluster_engine.connect(address)
        try:
            on_nodes = cluster_engine.RayCluster("cpu", (), as_it_is, memory_limit=200 << 20)
            jobs = [Job("1"), Job("exit"), Job("hungry"), Job("2")]
            started: list[str] = []
            done = {
                job.name: end
                for job, end in on_nodes.run(execute, jobs, None, lambda job, where: started.append(where))
            }
            assert pid(done["1"]) != pid(done["2"])
            crashes = {name: (end.kind, end.reason) for name, end in done.items() if isinstance(end, Crash)}
            assert set(crashes) == {"exit", "hungry"}
            assert crashes["exit"] == ("failed", "its process ended with exit status 3; last output: disk on fire")
            assert "MemoryError" in crashes["hungry"][1]
            assert started == ["cpu of 127.0.0.1"] * 4
            ((_, hung),) = on_nodes.run(execute, [Job("hangs", seconds=600.0)], 2.0)
            assert isinstance(hung, Crash)
            assert hung.kind == "timeout"

            there = tmp_path / "there"
            with_cache = cluster_engine.RayCluster("cpu", (image_set,), with_images, cache_dir=there)
            assert with_cache.stored
            (tmp_path / "here").rename(tmp_path / "out of their sight")
            looks = [Images(str(n)) for n in range(4)]
            found = {end for _, end in with_cache.run(look, looks)}
            ((folder, _),) = found  # written once
            assert Path(folder).is_relative_to(there)

            slow = [Job(str(n), seconds=1.0) for n in range(5)]
            done = {}
            for job, end in on_nodes.run(execute, slow):
                if not done:
                    orders.write("kill\n")
                    orders.flush()
                done[job.name] = end
            assert sorted(done) == [job.name for job in slow]
            assert not any(isinstance(end, Crash) for end in done.values())
        finally:
            cluster_engine.ray.shutdown()


@dataclass(eq=False)
class Simulated:
    """A cluster, in place of Ray, of which every task takes as long as it says by a clock that jumps to the next end.

    With `real_time` the clock also moves by what handing out tasks and writing down results really takes.
    """

    node_names: list[str]
    lost_at: dict[str, float] = field(default_factory=dict)
    joins_at: dict[str, float] = field(default_factory=dict)
    real_time: bool = False
    poison: str = ""  # a task that brings its process down
    resources: Mapping[str, float] = field(default_factory=lambda: {"CPU": 4.0})
    demands: set[tuple[int, int]] = field(default_factory=set)  # processors and GPUs of a task
    now: float = 0.0
    begun: list[str] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    _ends: list[tuple[float, int]] = field(default_factory=list)  # when, reference
    _results: dict[int, Any] = field(default_factory=dict)
    _clock: float = field(default_factory=time.perf_counter)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def nodes(self) -> list[dict[str, Any]]:
        if self.real_time:
            self._clock, before = time.perf_counter(), self._clock
            self.now += self._clock - before
        self.node_names += [node for node, when in self.joins_at.items() if when <= self.now]
        self.joins_at = {node: when for node, when in self.joins_at.items() if when > self.now}
        return [
            {
                "Alive": self.now < self.lost_at.get(node, float("inf")),
                "NodeID": node,
                "NodeManagerAddress": f"10.0.0.{node}",
                "Resources": self.resources,
            }
            for node in self.node_names
        ]

    def options(self, num_cpus: int, num_gpus: int, max_retries: int, scheduling_strategy: Any) -> Any:
        assert max_retries == 0
        self.demands.add((num_cpus, num_gpus))
        return SimpleNamespace(remote=lambda *task: self._start(scheduling_strategy.node_id, task[0]))

    def _start(self, node: str, contents: bytes) -> int:
        _, _, job = pickle.loads(contents)
        self.begun.append(job.name)
        reference, end, lost = len(self._results), self.now + job.seconds, self.lost_at.get(node, float("inf"))
        fails = lost < end or job.name == self.poison
        self._results[reference] = None if fails else pickle.dumps(f"result of {job.name}")
        heapq.heappush(self._ends, (min(end, max(lost, self.now)), reference))
        return reference

    def wait(self, pending: Sequence[int], num_returns: int, timeout: float, fetch_local: bool) -> tuple[Any, None]:
        if timeout and self._ends[0][0] > self.now:
            self.now = min(self._ends[0][0], self.now + timeout)
        return [reference for when, reference in self._ends if when <= self.now][:num_returns], None

    def get(self, reference: int) -> Any:
        from ray.exceptions import WorkerCrashedError

        self._ends = [end for end in self._ends if end[1] != reference]
        heapq.heapify(self._ends)
        if self._results[reference] is None:
            raise WorkerCrashedError
        return self._results[reference]

    def cancel(self, reference: int, force: bool) -> None:
        self.cancelled.append(reference)

    def run(
        self, monkeypatch: pytest.MonkeyPatch, jobs: Sequence[Job], kind: str = "cpu", needs_device: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Every job's name and result as `RayCluster.run` yields them; who started is in `told`."""
        self.told: list[str] = []
        for name in ("ray", "_run", "time"):
            monkeypatch.setattr(cluster_engine, name, self)
        monkeypatch.setattr(cluster_engine, "_at", lambda node: SimpleNamespace(node_id=node))
        cluster = cluster_engine.RayCluster(kind, (), as_it_is)

        def told(job: Job, where: str) -> None:
            self.told.append(f"{job.name} on {where}")

        for job, end in cluster.run(execute, jobs, None, told, needs_device=needs_device):
            yield job.name, end


def jobs_of(lengths: Sequence[float]) -> list[Job]:
    return [Job(str(number), seconds=seconds) for number, seconds in enumerate(lengths)]


def test_every_task_is_done_once_in_the_order_in_which_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Simulated(["1", "2"])
    done = list(cluster.run(monkeypatch, jobs_of([5, 1, 1, 1])))
    assert done == [(n, f"result of {n}") for n in "1230"]
    assert cluster.told == [f"{task} on cpu of 10.0.0.{node}" for task, node in ("01", "12", "22", "32")]
    assert cluster.now == 5
    assert cluster.cancelled == []
    assert cluster.demands == {(4, 0)}  # alone on its node


def test_every_gpu_has_a_task_and_tasks_without_a_device_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Simulated(["1", "2"], resources={"CPU": 4.0, "GPU": 2.0})
    list(measured.run(monkeypatch, jobs_of([1] * 8), kind="cuda"))
    assert (measured.now, measured.demands) == (2, {(1, 1)})
    assert measured.told[0] == "0 on cuda:0 of 10.0.0.1"
    counted = Simulated(["1", "2"], resources={"CPU": 64.0, "GPU": 2.0})
    list(counted.run(monkeypatch, jobs_of([1] * 32), kind="cuda", needs_device=False))
    assert (counted.now, counted.demands) == (2, {(1, 0)})  # eight at a time on each node, for their memory


def test_a_task_sees_the_gpu_that_ray_gave_it_whatever_its_fork_server_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    contents = pickle.dumps((visible_gpu, as_it_is, Job("1")))
    task = cluster_engine.PickledTask(contents, {}, {"CUDA_VISIBLE_DEVICES": "3"})
    assert pickle.loads(cluster_engine.execute_pickled(task, "cuda:0")) == "3"


def test_what_a_lost_node_had_is_done_elsewhere_and_shown_as_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Simulated(["1", "2"], lost_at={"1": 2.5})
    done = list(cluster.run(monkeypatch, jobs_of([2, 2, 2, 2])))
    assert sorted(done) == [(n, f"result of {n}") for n in "0123"]
    assert sorted(cluster.begun) == sorted("0123" + "2")
    assert sorted(line[0] for line in cluster.told) == ["0", "1", "2", "3"]


def test_a_node_that_joins_later_gets_work(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Simulated(["1"], joins_at={"2": 3.0})
    list(cluster.run(monkeypatch, jobs_of([2] * 10)))
    assert cluster.now < 14  # 20 with one


def test_a_task_that_ends_every_process_is_given_up_and_the_others_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Simulated(["1", "2"], poison="1")
    done = dict(cluster.run(monkeypatch, jobs_of([1, 1, 1])))
    assert cluster.begun.count("1") == cluster_engine.MOST_LOSSES
    crash = done["1"]
    assert isinstance(crash, Crash)
    assert "lost 3 times: WorkerCrashedError" in crash.reason
    assert (done["0"], done["2"]) == ("result of 0", "result of 2")


def test_a_node_that_lost_a_task_rests_until_ray_has_seen_whether_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray still calls it alive; with work at once the task would soon have been lost three times."""
    cluster = Simulated(["1", "2"], lost_at={"1": 0.5})
    monkeypatch.setattr(Simulated, "nodes", lambda self: [_alive("1"), _alive("2")])
    done = list(cluster.run(monkeypatch, jobs_of([1, 3, 3])))
    assert {name for name, end in done if not isinstance(end, Crash)} == {"0", "1", "2"}


def _alive(node: str) -> dict[str, Any]:
    return {"Alive": True, "NodeID": node, "NodeManagerAddress": f"10.0.0.{node}", "Resources": {"CPU": 4.0}}


def test_a_cluster_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Simulated(["1"], lost_at={"1": 0.5})
    with pytest.raises(EngineLost, match=r"no node to work on for 120 s; the last task was lost: WorkerCrashedError"):
        list(cluster.run(monkeypatch, jobs_of([1])))


def test_who_stops_early_leaves_no_task_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Simulated(["1", "2"])
    done = cluster.run(monkeypatch, jobs_of([1, 9, 9]))
    assert next(done)[0] == "0"
    done.close()  # type: ignore[attr-defined]
    assert cluster.cancelled == [1]


@pytest.mark.parametrize(
    "workers", [8, pytest.param(64, marks=pytest.mark.perf), pytest.param(256, marks=pytest.mark.perf)]
)
def test_many_workers_are_kept_busy(tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least 90 % of the ideal speed-up: tasks by a simulated clock, all other work by the real one.

    Tasks of 10 to 30 s, twenty for each worker, in random order; each brings four rows, which are really written.
    """
    generator = random.Random(workers)
    lengths = [generator.uniform(10, 30) for _ in range(20 * workers)]
    cluster = Simulated([str(node) for node in range(workers)], real_time=True)
    run = new_run(tmp_path, "a", RunHeader())
    rows = [
        Record("resnet20_cifar", "throughput", f"m{n}", 1.0, "images/s", "ok", samples=(1.0,) * 20) for n in range(4)
    ]
    writing = 0.0
    with run.writer() as writer:
        for _ in cluster.run(monkeypatch, jobs_of(lengths)):
            began = time.perf_counter()
            writer.append(rows)
            writing += time.perf_counter() - began
    speedup = sum(lengths) / cluster.now
    print(
        f"{workers} workers: {speedup / workers:.1%} of the ideal speed-up; "
        f"the writer takes {1e3 * writing / len(lengths) / len(rows):.2f} ms per row"
    )
    assert speedup >= 0.9 * workers


def run(folder: Path, name: str, *flags: str) -> subprocess.Popen[str]:
    folders = ["--results-dir", str(folder / "results"), "--cache-dir", str(folder / "cache")]
    command = [sys.executable, "-m", "bench", "run", "--run", name, *folders, *flags]
    return subprocess.Popen(command, cwd=ROOT, env=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    """What it said, if it ended well."""
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def values(folder: Path, name: str) -> dict[tuple[object, ...], tuple[str, float | None]]:
    """By key: status, and the value if it is the same every time."""
    exact = ("count", "fraction", "images")
    rows = Run.open(folder / "results", name).records()
    found: dict[tuple[object, ...], tuple[str, float | None]] = {
        row.key: (row.status, row.value if row.unit in exact else None) for row in rows
    }
    assert len(found) == len(rows)
    return found


@pytest.mark.perf
def test_a_cluster_gives_the_records_of_one_machine(tmp_path: Path) -> None:
    finished(run(tmp_path, "local", *PLAN, *COUNTS))
    with two_nodes() as (address, _):
        finished(run(tmp_path, "ray", *PLAN, *COUNTS, "--engine", "ray", "--ray-address", address))
        # Images reach a node that does not see this machine's cache.
        training = ["--models", "lenet5_cifar", "--probes", "accuracy", "--dataset", "synthetic", "--budget", "0.2kimg"]
        training += ["--train-batch-size", "20", "--test-images", "100", "--seeds", "2"]
        finished(run(tmp_path, "trained", *training))
        finished(run(tmp_path, "trained-ray", *training, "--engine", "ray", "--ray-address", address))
    assert values(tmp_path, "ray") == values(tmp_path, "local")
    assert values(tmp_path, "trained-ray") == values(tmp_path, "trained")


@pytest.mark.perf
def test_a_node_that_is_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    with two_nodes() as (address, orders):
        process = run(tmp_path, "a", *PLAN, *COUNTS, "--engine", "ray", "--ray-address", address)
        records = tmp_path / "results" / "a" / "records.jsonl"
        deadline = time.monotonic() + 300
        while not (records.exists() and "throughput" in records.read_text()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        done = records.read_text().count("\n")
        orders.write("kill\n")
        orders.flush()
        finished(process)
    found = values(tmp_path, "a")
    print(f"killed after {done} of {len(found)} rows")
    assert done < len(found)
    assert len(found) == 4 * (4 + 2 * 4)  # networks x (params, macs, flops, activations + rounds x throughput)
    assert {status for status, _ in found.values()} == {"ok", "skipped"}


@pytest.mark.gpu
def test_a_cluster_with_a_gpu_measures_there(tmp_path: Path) -> None:
    """Its other node, which has none, only counts."""
    with two_nodes(gpus=1) as (address, _):
        plan = ["--models", "lenet5_cifar", "--probes", "params", "throughput", "--rounds", "2"]
        finished(run(tmp_path, "a", *plan, "--engine", "ray", "--ray-address", address))
    rows = {row.metric: row for row in Run.open(tmp_path / "results", "a").records()}
    assert {row.status for row in rows.values()} == {"ok"}
    assert rows["train_images_per_s"].device == "cuda:0"
    assert rows["train_images_per_s"].hardware == torch.cuda.get_device_name(0)


def test_an_address_without_a_cluster_is_said_at_once(tmp_path: Path, refused: Callable[..., str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = ["run", "--engine", "ray", "--ray-address", address, "--results-dir", str(tmp_path / "results")]
    assert f"--ray-address {address}: there is no cluster" in refused(*arguments)
    assert not (tmp_path / "results").exists()
