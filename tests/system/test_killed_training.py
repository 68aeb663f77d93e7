"""A run whose every process is killed in the middle of a training, and the run that goes on from there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from bench.records.run_folder import Run
from tests.data.fakes import write_image_folder

ROOT = Path(__file__).resolve().parents[2]


def start(tmp_path: Path, name: str) -> subprocess.Popen[bytes]:
    arguments = [
        *("run", "--probes", "accuracy", "--models", "lenet5_cifar", "--run", name, "--device", "cpu"),
        *("--dataset", str(tmp_path / "images"), "--train-batch-size", "20", "--budget", "3kimg"),
        *("--results-dir", str(tmp_path / "results"), "--cache-dir", str(tmp_path / "cache")),
        *("--checkpoint-every-s", "0"),
    ]
    return subprocess.Popen([sys.executable, "-m", "bench", *arguments], cwd=ROOT, start_new_session=True)


def test_it_ends_as_if_it_had_not_been_killed(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "images", classes=2)
    undisturbed, killed = start(tmp_path, "whole"), start(tmp_path, "killed")
    checkpoints = tmp_path / "results" / "killed" / "checkpoints"
    written: set[int] = set()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(written) < 3:
        written |= {path.stat().st_mtime_ns for path in checkpoints.glob("*.pt")}
        time.sleep(0.002)
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait(60) == -signal.SIGKILL, "it ended before it could be killed"
    run = Run.open(tmp_path / "results", "killed")
    assert run.records() == []

    resumed_run = start(tmp_path, "killed")
    assert undisturbed.wait(120) == 0
    assert resumed_run.wait(120) == 0
    runs = [Run.open(tmp_path / "results", name) for name in ("whole", "killed")]
    (whole, resumed) = ({row.metric: row for row in run.records()} for run in runs)
    for metric in ("top1", "train_loss", "train_images", "train_flops"):
        assert resumed[metric].value == whole[metric].value, metric
    assert resumed["top1"].note.startswith("interrupted, and resumed after ")
    curve, curve_resumed = (pd.read_parquet(run.curve_path("lenet5_cifar", "seed0")) for run in runs)
    pd.testing.assert_frame_equal(curve.drop(columns="seconds"), curve_resumed.drop(columns="seconds"))
    assert not checkpoints.exists()  # of no more use
