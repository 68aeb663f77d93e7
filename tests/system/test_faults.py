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

import pandas as pd
import psutil
import pytest

from bench.cli.main import main
from bench.engines.local import LocalMachine
from bench.models import REGISTRY
from bench.records.record import Record
from bench.records.run_folder import Run, RunHeader
from bench.render.findings import problems
from bench.render.results import read_results
from bench.runner.execute import PRELOAD, run_tasks
from bench.runner.plan import plan
from tests.configs import config, new_run
from tests.data.fakes import write_image_folder
from tests.own_network import own_spec
from tests.system import hostile_networks

ROOT = Path(__file__).resolve().parents[2]
GOOD = ("lenet5_cifar", "cnn_mnist")
BAD = {  # network -> the status of its rows, and words of their reason
    "Exits": ("failed", "exit status 3"),
    "Raises": ("failed", "RuntimeError: no such layer"),
    "Segfaults": ("failed", "SIGSEGV"),
    "Hangs": ("timeout", "stopped after"),
    "TakesAllMemory": ("oom", "MemoryError"),
    "ReturnsNan": ("failed", "infinite or not a number"),
}
CONFIG = config("throughput", measure_seconds=0.02)


def test_hostile_networks_leave_honest_rows_and_good_ones_theirs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = new_run(tmp_path / "results", "a", RunHeader())
    specs = [own_spec(getattr(hostile_networks, name), name=name) for name in (*BAD, "PrintsWithoutEnd")]
    specs += [REGISTRY[name] for name in GOOD]
    place = LocalMachine(("cpu",), run.folder / "workers.log", PRELOAD, 1 << 28)
    hangs = specs.pop(list(BAD).index("Hangs"))
    ended: list[str] = []
    # Only what never ends meets its time limit, however slow this machine is.
    for some, timeout_s in ((specs, 300.0), ([hangs], 2.0)):
        tasks = plan(some, CONFIG)
        run_tasks(run, tasks, place, timeout_s, lambda task, _: None, lambda task, _: ended.append(task.spec.name))
    assert sorted(ended) == sorted([hangs.name, *(spec.name for spec in specs)])
    rates = {row.model: row for row in run.records() if row.metric == "inference_images_per_s"}
    assert set(rates) == {hangs.name, *(spec.name for spec in specs)}
    for name, (status, words) in BAD.items():
        assert (rates[name].status, rates[name].value) == (status, None), rates[name]
        assert words in rates[name].note
    assert {rates[name].status for name in (*GOOD, "PrintsWithoutEnd")} == {"ok"}
    assert capfd.readouterr().out == ""
    assert (run.folder / "workers.log").stat().st_size < 1 << 20
    shown = " ".join(problem.reason for problem in problems(read_results(run), []))
    assert all(words in shown for _, words in BAD.values())


DETERMINISTIC = {"params", "macs", "flops", "activations", "top1", "train_images", "train_loss", "train_flops"}


def command(tmp_path: Path, name: str, *more: str) -> list[str]:
    """Of a run that counts LeNet-5 and trains it on noise."""
    return [
        *("run", "--models", "lenet5_cifar", "--probes", "params", "macs", "activations", "accuracy", "--run", name),
        *("--dataset", str(tmp_path / "images"), "--train-batch-size", "20", "--device", "cpu"),
        *("--results-dir", str(tmp_path / "results"), "--cache-dir", str(tmp_path / "cache"), *more),
    ]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-m", "bench", *arguments], cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def rows_of(run: Run) -> dict[tuple[str, str, int], Record]:
    return {(row.model, row.metric, row.seed): row for row in run.records()}


def check(results: Path, run: str) -> None:
    """The run has the rows of the undisturbed one, each once."""
    expected, found = rows_of(Run.open(results, "undisturbed")), rows_of(Run.open(results, run))
    assert set(found) == set(expected)
    assert len(Run.open(results, run).records()) == len(found)
    assert {row.status for row in found.values()} <= {"ok", "skipped"}
    for key, row in expected.items():
        if row.metric in DETERMINISTIC:
            assert found[key].value == row.value, key


def descendants(process: int) -> list[psutil.Process]:
    """Of a process, the youngest last."""
    with suppress(psutil.NoSuchProcess):
        return sorted(psutil.Process(process).children(recursive=True), key=lambda child: child.pid)
    return []


def test_a_training_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(
    in_this_process: None, tmp_path: Path
) -> None:
    write_image_folder(tmp_path / "images", classes=2)
    flags = ("--budget", "2kimg", "--checkpoint-every-s", "0")
    killed = start(command(tmp_path, "killed", *flags))
    checkpoints = tmp_path / "results" / "killed" / "checkpoints"
    written: set[int] = set()
    while len(written) < 3 and killed.poll() is None:
        written |= {path.stat().st_mtime_ns for path in checkpoints.glob("*.pt")}
        time.sleep(0.001)
    workers = descendants(killed.pid)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL, "it ended before it could be killed"
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    assert {row.probe for row in Run.open(tmp_path / "results", "killed").records()} == {
        "params",
        "macs",
        "activations",
    }

    for name in ("undisturbed", "killed"):
        assert main(command(tmp_path, name, *flags)) == 0
    check(tmp_path / "results", "killed")
    whole, resumed = (Run.open(tmp_path / "results", name) for name in ("undisturbed", "killed"))
    assert rows_of(resumed)["lenet5_cifar", "top1", 0].note.startswith("interrupted, and resumed after ")
    curve, curve_resumed = (
        pd.read_parquet(run.table_path("curves", "lenet5_cifar", "seed0")) for run in (whole, resumed)
    )
    pd.testing.assert_frame_equal(curve.drop(columns="seconds"), curve_resumed.drop(columns="seconds"))
    assert not checkpoints.exists()  # of no more use


@pytest.mark.perf
def test_a_run_that_is_killed_at_fifty_moments_has_every_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run goes on until nothing is left to do, and then has the rows of an undisturbed one."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_image_folder(tmp_path / "images")
    flags = ("--budget", "0.2kimg", "--seeds", "2")

    def bring_to_its_end(name: str) -> None:
        process = start(command(tmp_path, name, *flags, "--retry-failed"))  # of a killed worker there is a row
        _, said = process.communicate()
        assert process.returncode == 0, said
        check(tmp_path / "results", name)

    began = time.monotonic()
    bring_to_its_end("undisturbed")
    length = time.monotonic() - began
    generator = random.Random(0)
    killed: Counter[str] = Counter()
    attempt = 0
    run = "disturbed0"
    for _ in range(50):
        process = start(command(tmp_path, run, *flags))
        moment = time.monotonic() + generator.uniform(0.0, 1.1 * length)
        while time.monotonic() < moment and process.poll() is None:
            time.sleep(0.005)
        victims = generator.choice(("main", "worker", "both"))
        workers = descendants(process.pid)
        targets = {
            "main": [process.pid],
            "worker": [worker.pid for worker in workers[-1:]],
            "both": [*(worker.pid for worker in workers[-1:]), process.pid],
        }[victims]
        if process.poll() is None and targets:
            killed[victims] += 1
            for target in targets:
                with suppress(ProcessLookupError):  # it ended just before
                    os.kill(target, signal.SIGKILL)
        _, said = process.communicate()
        # Half-made workers of a main process that was killed may say so; one that lives has nothing to say.
        assert "Traceback" not in said or process.returncode == -signal.SIGKILL, said
        assert psutil.wait_procs(workers, timeout=20)[1] == []
        if process.returncode in (0, 1):  # it came to its end: the next one starts from nothing
            bring_to_its_end(run)
            attempt += 1
            run = f"disturbed{attempt}"
    bring_to_its_end(run)
    print(f"killed: {dict(killed)}")
    assert set(killed) == {"main", "worker", "both"}
