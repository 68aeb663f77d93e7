"""A run on a real Ray cluster of two nodes on this machine. Starting Ray takes longer than the rest of the suite."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import torch

from bench.cli.main import main
from bench.records.run_folder import Run

pytest.importorskip("ray", reason="Ray is not installed: pip install 'classic-bench[ray]'")

ROOT = Path(__file__).resolve().parents[2]
HERE = {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "OMP_NUM_THREADS": "1"}  # see ray_nodes
PLAN = ["--models", "lenet5_cifar", "lenet5_mnist", "cnn_mnist", "resnet20_cifar"]
COUNTS = ["--probes", "params", "macs", "activations", "throughput", "--rounds", "2"]


@contextmanager
def two_nodes(gpus: int = 0) -> Iterator[tuple[str, IO[str]]]:
    """The address of a cluster, and where to write what its nodes shall do."""
    command = [sys.executable, str(Path(__file__).with_name("ray_nodes.py")), str(gpus)]
    nodes = subprocess.Popen(command, env=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert nodes.stdin is not None
    assert nodes.stdout is not None
    try:
        yield nodes.stdout.readline().strip(), nodes.stdin
    finally:
        nodes.communicate()


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


def test_an_address_without_a_cluster_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = ["run", "--engine", "ray", "--ray-address", address, "--results-dir", str(tmp_path / "results")]
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert f"--ray-address {address}: there is no cluster" in said
    assert "\n" not in said
    assert not (tmp_path / "results").exists()
