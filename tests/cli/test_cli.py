"""The command line: what it prints, and the exit status that scripts rely on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pandas as pd
import pytest
import torch

from bench.cli.main import main
from bench.config import PRESETS
from bench.records.run_folder import Run, RunHeader
from bench.render.page import warning
from bench.render.results import read_results
from bench.training.recipes import RECIPES
from tests.configs import new_run
from tests.data.fakes import write_image_folder

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--budget", "0.1kimg", "--train-batch-size", "20", "--test-images", "20"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_image_folder(tmp_path / "images")


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that the preset does, each once and for a moment."""
    quick = replace(PRESETS["quick"], rounds=1, measure_seconds=0.02)
    monkeypatch.setitem(PRESETS, "quick", quick)


def flags(tmp_path: Path) -> list[str]:
    return [
        *("--results-dir", str(tmp_path / "results")),
        *("--reports-dir", str(tmp_path / "reports")),
        *("--cache-dir", str(tmp_path / "cache")),
    ]


def test_a_flag_that_no_training_can_obey_is_refused_before_any_work(
    images: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    what = ["run", "--models", "lenet5_cifar", "--probes", "accuracy", "--dataset", str(images), *flags(tmp_path)]
    assert "--test-images 1: " in refused(*what, "--test-images", "1")
    (tmp_path / "vgg.json").write_bytes(msgspec.json.encode({"recipes": {"VGG": {"recipe": RECIPES["VGG"]}}}))
    recipes = str(tmp_path / "vgg.json")
    assert f"--recipes {recipes}: has no recipe for LeNet; it has VGG" in refused(*what, "--recipes", recipes)
    assert not list(tmp_path.glob("results/*"))


@pytest.mark.parametrize(
    "verb", ["report", "report results/before/run.json", "all --preset backbones --models lenet5_cifar"]
)
def test_a_report_that_cannot_be_written_is_refused_before_any_work(
    verb: str, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    new_run(tmp_path / "results", "before", RunHeader(name="before"))
    (tmp_path / "file").touch()
    said = "bench: cannot write to file: File exists; choose another --reports-dir"
    assert refused(*verb.split(), "--reports-dir", "file") == said
    assert [path.name for path in tmp_path.glob("results/*")] == ["before"]


@pytest.mark.skipif("__import__('torch').cuda.is_available()")
def test_cuda_without_a_gpu_is_said_before_any_work(refused: Callable[..., str]) -> None:
    assert "no CUDA device" in refused("run", "--device", "cuda", "--models", "lenet5_cifar")


def test_threads_are_those_that_were_asked_for_in_every_row_and_in_the_run(tmp_path: Path) -> None:
    before = torch.get_num_threads()  # one: tests/conftest.py
    asked = min(2, os.cpu_count() or 1)
    said = f"{asked} thread{'s' * (asked != 1)}"
    try:
        words = ["run", "--run", "one", "--models", "lenet5_mnist", "--probes", "energy", "--device", "cpu"]
        assert main([*words, "--threads", str(asked), "--results-dir", str(tmp_path)]) == 0
    finally:
        torch.set_num_threads(before)
    run = Run.open(tmp_path, "one")
    assert {row.hardware.rpartition(", ")[2] for row in run.records()} == {said}
    assert run.header.device.endswith(f", {said}")


def test_help_and_report_do_not_import_torch(tmp_path: Path) -> None:
    run = new_run(tmp_path / "results", "a", RunHeader())
    (run.folder / "records.jsonl").write_text("")
    code = """
import sys
from contextlib import suppress
from bench.cli.main import main
for words in (["--help"], ["all", "--help"], ["report", "a"]):
    with suppress(SystemExit):
        assert main(words) == 0
assert "torch" not in sys.modules
"""
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=there, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_list_gives_what_scripts_rely_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--family", "lenet", "--track", "mnist", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == "lenet5_mnist"
    assert (row["params"], row["macs"], row["input_size"]) == (61_706, 416_520, [1, 32, 32])
    assert set(row) == {"name", "family", "year", "track", "input_size", "params", "macs", "paper"}


def test_show_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "lenet5_mnist", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["totals"]["params"] == 61_706
    assert shown["totals"]["macs"] == sum(layer["macs"] for layer in shown["layers"]) == 416_520
    assert any(line.startswith("Differs from the paper:") for line in shown["differences"])
    assert main(["show", "lenet5_mnist"]) == 0
    table = capsys.readouterr().out
    assert "16x10x10" in table
    assert "61,706" in table


def test_what_a_network_prints_is_not_taken_for_the_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "noisy.py").write_text(
        "from torch import nn\n"
        "print('imported')\n"
        "def network(num_classes=10):\n"
        "    print('built')\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["show", "noisy:network", "--input-size", "32", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["totals"]["params"] == 30_730
    assert "imported" in said.err
    assert "built" in said.err


def test_doctor_names_device_images_and_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--data-dir", str(tmp_path), "--results-dir", str(tmp_path / "results")]) == 0
    said = capsys.readouterr().out
    for word in (
        "device: ",
        "torch: ",
        "python: ",
        "deterministic algorithms: ",
        "load average, 1 min: ",
        "images: none",
        "GiB free",
    ):
        assert word in said


@pytest.mark.usefixtures("brief", "in_this_process")
def test_all_from_images_to_report_and_again(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    arguments = ["all", "--models", "lenet5_cifar", *TINY, "--dataset", str(images), "--run", "a", *flags(tmp_path)]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert re.search(r"\[(\d+)/\1\]", said.err)
    assert "lenet5_cifar" in said.out
    report = tmp_path / "reports" / "a"
    assert {path.name for path in report.iterdir()} == {"index.html", "report.md", "table.csv", "claims.csv", "figures"}
    run = Run.open(tmp_path / "results", "a")
    before = run.records()
    assert {record.status for record in before} == {"ok", "skipped"}  # not every number exists on every machine
    assert str(tmp_path / "cache") not in str(run.header.image_sets)  # a run can be published
    assert {r.dataset for r in before if r.metric == "top1"} == {run.header.image_sets["cifar"]["name"]}
    assert [path.name for path in run.curves.iterdir()] == ["lenet5_cifar-seed0.parquet"]
    assert set(run.networks()) == {"lenet5_cifar"}
    assert run.header.limits
    (top1,) = [r.value for r in before if r.metric == "top1"]
    counts = pd.read_parquet(run.table_path("confusions", "lenet5_cifar", "seed0"))
    assert top1 == counts[counts.label == counts.predicted]["count"].sum() / counts["count"].sum()
    page = (report / "index.html").read_text()
    assert "Structure of lenet5_cifar" in page
    assert "most often mistakes" in page
    assert "one of each of" in page

    # Again by name alone: every setting and folder is remembered, and nothing is measured twice.
    (report / "index.html").unlink()
    assert main(["all", "--run", "a", "--results-dir", str(tmp_path / "results")]) == 0
    assert (report / "index.html").exists()
    assert "[" not in capsys.readouterr().err.split("images:")[-1]
    assert run.records() == before

    # One network more joins the run.
    assert main(["run", "--run", "a", "--models", "lenet5_mnist", "--probes", "params", *flags(tmp_path)]) == 0
    assert len(run.records()) == len(before) + 1
    assert {m.name for m in Run.open(tmp_path / "results", "a").header.models} == {"lenet5_cifar", "lenet5_mnist"}

    # Another budget would make the table a lie.
    assert "budget 0.1kimg (now 1ep)" in refused("all", "--run", "a", "--budget", "1ep", *flags(tmp_path))

    # Unless that is wanted; then the run and its report say so.
    other = ["--train-batch-size", "10", "--force"]
    assert main(["run", "--run", "a", "--probes", "params", *other, *flags(tmp_path)]) == 0
    forced = Run.open(tmp_path / "results", "a")
    assert forced.header.forced[0].differences == ("train_batch_size 20 (now 10)",)
    assert "Resumed with --force" in warning(read_results(forced))


@pytest.mark.usefixtures("in_this_process")
def test_a_budget_can_join_a_run_and_is_kept_apart(tmp_path: Path, images: Path, refused: Callable[..., str]) -> None:
    def train(*budgets: str) -> list[str]:
        network = ["run", "--models", "lenet5_cifar", "--probes", "accuracy", "--train-batch-size", "20"]
        return [*network, "--budget", *budgets, "--dataset", str(images), "--run", "a", *flags(tmp_path)]

    assert main(train("0.1kimg")) == 0
    first = Run.open(tmp_path / "results", "a").records()
    assert main(train("0.1kimg", "0.2kimg", "2ep")) == 0
    run = Run.open(tmp_path / "results", "a")
    records = run.records()
    assert records[: len(first)] == first
    assert [(r.budget, r.value) for r in records if r.metric == "train_images"] == [
        ("0.1kimg", 100),
        ("0.2kimg", 200),
        ("2ep", 80),
    ]
    settings = run.header.settings()
    assert (settings["budget"], settings["other_budgets"]) == ("0.1kimg", ["0.2kimg", "2ep"])
    assert not run.header.limits  # no throughput is compared with them
    assert sorted(path.name for path in run.curves.iterdir()) == [
        "lenet5_cifar-seed0-0.2kimg.parquet",
        "lenet5_cifar-seed0-2ep.parquet",
        "lenet5_cifar-seed0.parquet",
    ]
    assert "budget 0.1kimg (now 0.2kimg)" in refused(*train("0.2kimg", "0.1kimg"))


def test_where_nothing_can_be_done_the_reason_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--probes", "accuracy", "--models", "resnet18", "--run", "a", *flags(tmp_path)]
    assert main(words) == 0
    said = "skipped: networks of the imagenet track are not trained: the suite carries no 224x224 images"
    assert said in capsys.readouterr().err.splitlines()


def test_batch_sizes_that_differ_are_named_by_track(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--probes", "params", "--models", "lenet5_cifar", "--run", "a", *flags(tmp_path)]
    assert main(words) == 0
    assert main([*words, "--batch-size", "8"]) == 2
    assert "made with batch_size cifar 16 (now 8); batch_size mnist 16 (now 8); " in capsys.readouterr().err


def test_a_failed_row_gives_exit_status_1_and_still_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "quick", replace(PRESETS["quick"], probes=("params", "macs")))
    arguments = ["all", "--models", "lenet5_cifar", "--run", "a", *flags(tmp_path)]
    assert main([*arguments, "--task-timeout-s", "0.0001"]) == 1
    assert "failed; the report names each with its reason" in capsys.readouterr().err
    assert "timeout" in (tmp_path / "reports" / "a" / "index.html").read_text()
    assert main([*arguments, "--task-timeout-s", "600", "--retry-failed"]) == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on(
    tmp_path: Path, images: Path, how: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    records = tmp_path / "results" / "a" / "records.jsonl"

    def interrupt() -> None:
        while not (records.exists() and records.stat().st_size):
            time.sleep(0.05)
        os.kill(os.getpid(), how)

    threading.Thread(target=interrupt, daemon=True).start()
    what = ["--models", "lenet5_cifar", "--probes", "params", "accuracy", "--budget", "600s", "--dataset", str(images)]
    assert main(["run", *what, "--run", "a", *flags(tmp_path)]) == 130
    assert "--run a" in capsys.readouterr().err.splitlines()[-1]
    assert Run.open(tmp_path / "results", "a").records()


def test_show_draws_a_diagram(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "resnet20.svg"
    assert main(["show", "resnet20_cifar", "--json", "--diagram", str(path)]) == 0
    said = capsys.readouterr()
    assert said.err == f"diagram: {path}\n"
    assert json.loads(said.out)["name"] == "resnet20_cifar"
    assert path.read_text(encoding="utf-8").startswith("<svg ")


def test_a_diagram_that_cannot_be_written_is_said(tmp_path: Path, refused: Callable[..., str]) -> None:
    said = refused("show", "lenet5_mnist", "--diagram", str(tmp_path / "nowhere" / "lenet.svg"))
    assert "--diagram" in said
    assert "lenet.svg" in said


@pytest.mark.gpu
def test_all_on_a_gpu(tmp_path: Path, images: Path) -> None:
    what = ["--models", "lenet5_cifar", "cnn_mnist", *TINY, "--dataset", str(images)]
    arguments = ["all", *what, "--device", "cuda:0", "--run", "a", *flags(tmp_path)]
    assert main(arguments) == 0
    records = Run.open(tmp_path / "results", "a").records()
    assert {r.device for r in records if r.probe in ("throughput", "accuracy") and r.status == "ok"} == {"cuda:0"}


@pytest.mark.gpu
def test_every_gpu_of_a_machine_is_used(tmp_path: Path) -> None:
    count = torch.cuda.device_count()
    if count < 2:
        pytest.skip("needs several CUDA devices")
    what = ["--models", "lenet5_cifar", "lenet5_mnist", "--probes", "latency", "--rounds", str(count)]
    assert main(["run", *what, "--device", "cuda", "--run", "a", *flags(tmp_path)[:2]]) == 0
    rows = Run.open(tmp_path / "results", "a").records()
    assert {row.status for row in rows} == {"ok"}
    assert {row.device for row in rows} == {f"cuda:{number}" for number in range(count)}


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def test_compiled_networks_are_timed_and_trained(tmp_path: Path, images: Path, device: str) -> None:
    (tmp_path / "mine.py").write_text(ONE_KERNEL)
    what = ["--models", f"{tmp_path}/mine.py:network", "--input-size", "32", "--probes", "throughput", "accuracy"]
    where = ["--device", device, "--dataset", str(images), "--run", "a", *flags(tmp_path)]
    command = [sys.executable, "-m", "bench", "run", *what, *TINY, "--compile", "--rounds", "1", *where]
    env = {
        **os.environ,
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled"),  # nothing is there from last time
        "TORCHINDUCTOR_VEC_ISA_OK": "1",  # half a minute of trying what the processor says that it can
    }
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    rows = {row.metric: row for row in Run.open(tmp_path / "results", "a").records()}
    for metric in ("inference_images_per_s", "train_images_per_s", "top1", "compile_seconds"):
        assert (rows[metric].status, rows[metric].compile) == ("ok", True)
    assert rows["compile_seconds"].value > 1  # type: ignore[operator]  # not what it takes to warm up


ONE_KERNEL = """
from torch import nn

def network(num_classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes, bias=False), nn.ReLU())
"""
