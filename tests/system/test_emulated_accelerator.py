"""The whole main job on an accelerator that is not there, with everything planted in it that can go wrong on one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.records.record import Record
from bench.records.run_folder import Run

ROOT = Path(__file__).resolve().parents[2]
PLANTED = (
    "count=2 mig throttle=MainProcess oom=*:capture?measured capture=*:capture?trained hang=*:hang?trained "
    "lost=*:lost?trained"
)
# The main job, each part of it for a moment.
PROGRAM = """
import sys
from dataclasses import replace
from bench.cli.main import main
from bench.config import PRESETS
PRESETS["quick"] = replace(PRESETS["quick"], measure_seconds=0.02)
raise SystemExit(main(sys.argv[1:]))
"""


def bench(folder: Path, *words: str) -> Run:
    """Run a command that ends with status 1, some row being no number, and open what it wrote."""
    flags = ["--device", "emulated", "--input-size", "1x28x28", "--dataset", "synthetic", "--run", "a"]
    flags += ["--precision", "fp32", "--threads", "1", "--batch-size", "256"]
    flags += ["--budget", "0.1kimg", "--train-batch-size", "20", "--test-images", "20"]
    for what in ("results", "cache"):
        flags += [f"--{what}-dir", str(folder / what)]
    there = {"BENCH_ACCELERATOR": "tests.emulated:Emulated", "EMULATED": PLANTED}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words, *flags],
        cwd=ROOT,
        env={**os.environ, **there},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return Run.open(folder / "results", "a")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run for all faults but the one that takes time: a fault is that of one network, and no other may see it."""
    folder = tmp_path_factory.mktemp("emulated")
    names = [f"tests.emulated.networks:{name}" for name in ("sound", "capture", "lost")]
    found = bench(folder, "all", "--models", *names, "--reports-dir", str(folder / "reports"))
    assert (folder / "reports" / "a" / "index.html").exists()
    return found


@pytest.fixture(scope="module")
def hung(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose training never ends. Nothing that does end is under the short limit, however busy the machine is."""
    folder = tmp_path_factory.mktemp("hung")
    words = ("run", "--models", "tests.emulated.networks:hang", "--probes")
    bench(folder, *words, "accuracy", "--task-timeout-s", "6")
    return bench(folder, *words, "throughput", "latency", "memory")


def rows(run: Run, name: str, *probes: str) -> list[Record]:
    return [row for row in run.records() if row.model.endswith(f":{name}") and row.probe in probes]


def row(run: Run, name: str, metric: str) -> Record:
    return next(row for row in run.records() if row.model.endswith(f":{name}") and row.metric == metric)


def statuses(found: list[Record]) -> set[str]:
    return {row.status for row in found}


def test_what_is_sound_is_measured_in_full(run: Run) -> None:
    assert statuses(rows(run, "sound", "throughput", "latency", "memory", "accuracy")) <= {"ok", "skipped"}
    metrics = (
        "inference_images_per_s",
        "train_images_per_s",
        "latency_ms",
        "replayed_latency_ms",
        "peak_training_bytes",
    )
    for metric in (*metrics, "top1"):
        found = row(run, "sound", metric)
        assert (found.status, found.device.partition(":")[0], found.hardware) == ("ok", "emulated", "Emulated GPU")
    assert not row(run, "sound", "peak_training_bytes").predicted  # by its allocator
    assert row(run, "sound", "top1").cuda_graphs
    assert run.header.limits.keys() == {"emulated:0", "emulated:1"}


def test_every_device_is_used(run: Run) -> None:
    assert {found.device for found in run.records() if found.metric == "latency_ms"} == {"emulated:0", "emulated:1"}


def test_a_batch_that_does_not_fit_is_halved_and_said(run: Run) -> None:
    found = row(run, "capture", "train_images_per_s")
    assert (found.status, found.asked_batch_size) == ("ok", 256)
    assert found.batch_size is not None
    assert found.batch_size < 256
    assert "batch 256 did not fit into memory" in found.note


def test_a_training_whose_capture_fails_is_done_in_a_fresh_process_without_a_graph(run: Run) -> None:
    found = row(run, "capture", "top1")
    assert (found.status, found.cuda_graphs) == ("ok", False)
    assert "no CUDA graph: its capture failed (operation failed due to a previous error during capture)" in found.note


def test_a_kernel_that_hangs_is_stopped_and_costs_nothing_else(hung: Run) -> None:
    assert statuses(rows(hung, "hang", "accuracy")) == {"timeout"}
    assert statuses(rows(hung, "hang", "throughput", "latency", "memory")) <= {"ok", "skipped"}


def test_a_device_that_is_lost_costs_what_was_under_way_there(run: Run) -> None:
    found = rows(run, "lost", "accuracy")
    assert statuses(found) == {"failed"}
    assert "the device was lost" in found[0].note


@pytest.mark.parametrize("name", ["capture", "lost"])
def test_nothing_else_is_lost(run: Run, name: str) -> None:
    assert statuses(rows(run, name, "throughput", "latency", "memory")) <= {"ok", "skipped"}


def test_what_a_device_lacks_is_skipped_with_the_reason(run: Run) -> None:
    found = rows(run, "sound", "energy")
    assert statuses(found) == {"skipped"}
    assert "other MIG instances share" in found[0].note


def test_the_run_says_that_the_device_was_hot(run: Run) -> None:
    (session,) = run.header.sessions
    for state in (session.before, session.after):
        device = state["emulated:0"]
        assert isinstance(device, dict)
        assert device["throttle_reasons"] == "hot (hardware)"
