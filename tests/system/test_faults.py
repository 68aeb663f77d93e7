"""Nothing that a network does stops a run, and nothing that kills a run loses or doubles a row."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from bench.config import Budget, Config, Task
from bench.engines.local import LocalMachine
from bench.models import REGISTRY, ModelSpec
from bench.records.record import Record
from bench.records.run_folder import Run
from bench.records.run_json import RunHeader
from bench.render.report import write_report
from bench.runner.execute import PRELOAD, Outcome, run_tasks
from bench.runner.plan import plan
from tests.system import hostile_networks

ROOT = Path(__file__).resolve().parents[2]
GOOD = ("lenet5_cifar", "lenet5_mnist", "cnn_mnist", "resnet20_cifar", "squeezenet_cifar")
BAD = {  # network -> the status of its rows, and words of their reason
    "Exits": ("failed", "exit status 3"),
    "Raises": ("failed", "RuntimeError: no such layer"),
    "Segfaults": ("failed", "SIGSEGV"),
    "Hangs": ("timeout", "stopped after"),
    "TakesAllMemory": ("oom", "MemoryError"),
    "ReturnsNan": ("failed", "infinite or not a number"),
}
CONFIG = Config(
    preset="quick",
    probes=("throughput",),
    budget=Budget(1, "ep"),
    seeds=1,
    dataset="auto",
    batch_size={"cifar": 2, "mnist": 2, "imagenet": 1},
    train_batch_size=None,
    test_images=None,
    measure_seconds=0.02,
    task_timeout_s=None,
)


def hostile(name: str) -> ModelSpec:
    return ModelSpec(name, "Own", None, "none", "cifar", (3, 32, 32), 10, getattr(hostile_networks, name))


def test_hostile_networks_leave_honest_rows_and_good_ones_theirs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run.create(tmp_path / "results", "a", RunHeader())
    specs = [hostile(name) for name in (*BAD, "PrintsWithoutEnd")] + [REGISTRY[name] for name in GOOD]
    place: LocalMachine[Task, Outcome] = LocalMachine(("cpu",), run.folder / "workers.log", PRELOAD, 1 << 28)
    hangs = specs.pop(list(BAD).index("Hangs"))
    # Only what never ends meets its time limit, however slow this machine is.
    for some, timeout_s in ((specs, 300.0), ([hangs], 2.0)):
        run_tasks(run, plan(some, CONFIG), place, timeout_s, lambda task, device: None, lambda task, outcome: None)
    rates = {row.model: row for row in run.records() if row.metric == "inference_images_per_s"}
    assert set(rates) == {hangs.name, *(spec.name for spec in specs)}
    for name, (status, words) in BAD.items():
        assert (rates[name].status, rates[name].value) == (status, None), rates[name]
        assert words in rates[name].note
    assert {rates[name].status for name in (*GOOD, "PrintsWithoutEnd")} == {"ok"}
    assert capfd.readouterr().out == ""
    assert (run.folder / "workers.log").stat().st_size < 1 << 20
    page = (write_report(run, tmp_path / "reports") / "index.html").read_text()
    assert all(words in page for _, words in BAD.values())


DETERMINISTIC = {"params", "macs", "flops", "activations", "top1", "train_images", "train_loss"}


def rows_of(run: Run) -> dict[tuple[str, str, int], Record]:
    return {(row.model, row.metric, row.seed): row for row in run.records()}


def kill_and_resume(tmp_path: Path, kills: int, networks: tuple[str, ...], seed: int) -> Counter[str]:
    """Runs until nothing is left to do, killed at `kills` random moments; what was killed, with the final rows checked
    against those of an undisturbed run."""
    arguments = [
        *("run", "--models", *networks, "--probes", "params", "macs", "activations", "accuracy"),
        *("--dataset", "synthetic", "--budget", "0.2kimg", "--train-batch-size", "20", "--test-images", "100"),
        *("--seeds", "2", "--results-dir", str(tmp_path / "results"), "--cache-dir", str(tmp_path / "cache")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(name: str, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bench", *arguments, "--run", name, *more]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)

    def bring_to_its_end(name: str) -> None:
        process = start(name, "--retry-failed")  # where a worker was killed, its row says so until it is tried again
        _, said = process.communicate()
        assert process.returncode == 0, said
        check(tmp_path / "results", name)

    began = time.monotonic()
    undisturbed = start("undisturbed")
    assert undisturbed.communicate()[1]
    assert undisturbed.returncode == 0
    length = time.monotonic() - began
    generator = random.Random(seed)
    killed: Counter[str] = Counter()
    attempt = 0
    run = "disturbed0"
    for _ in range(kills):
        process = start(run)
        moment = time.monotonic() + generator.uniform(0.0, 1.1 * length)
        while time.monotonic() < moment and process.poll() is None:
            time.sleep(0.005)
        victims = generator.choice(("main", "worker", "both"))
        workers = descendants(process.pid)
        targets = {"main": [process.pid], "worker": workers[-1:], "both": [*workers[-1:], process.pid]}[victims]
        if process.poll() is None and targets:
            killed[victims] += 1
            for target in targets:
                with suppress(ProcessLookupError):  # it ended just before
                    os.kill(target, signal.SIGKILL)
        _, said = process.communicate()
        # Half-made workers of a main process that was killed may say so; one that lives has nothing to say.
        assert "Traceback" not in said or process.returncode == -signal.SIGKILL, said
        assert no_process_remains(workers)
        if process.returncode in (0, 1):  # it came to its end: the next one starts from nothing
            bring_to_its_end(run)
            attempt += 1
            run = f"disturbed{attempt}"
    bring_to_its_end(run)
    return killed


def check(results: Path, run: str) -> None:
    """The run has the rows of the undisturbed one, each once."""
    expected, found = rows_of(Run.open(results, "undisturbed")), rows_of(Run.open(results, run))
    assert set(found) == set(expected)
    assert len(Run.open(results, run).records()) == len(found)
    assert {row.status for row in found.values()} <= {"ok", "skipped"}
    for key, row in expected.items():
        if row.metric in DETERMINISTIC:
            assert found[key].value == row.value, key


def descendants(process: int) -> list[int]:
    """Of a process, the youngest last."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = [], [process]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return sorted(found)


def no_process_remains(processes: list[int]) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not any(Path("/proc", str(process)).exists() for process in processes):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_run_that_is_killed_and_resumed_has_every_row_once(tmp_path: Path) -> None:
    assert kill_and_resume(tmp_path, 1, ("lenet5_cifar",), seed=3)


@pytest.mark.perf
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_run_that_is_killed_at_fifty_moments_has_every_row_once(tmp_path: Path) -> None:
    killed = kill_and_resume(tmp_path, 50, ("lenet5_cifar",), seed=0)
    print(f"killed: {dict(killed)}")
    assert set(killed) == {"main", "worker", "both"}
