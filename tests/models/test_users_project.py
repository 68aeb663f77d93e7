"""A user's own project may have a package called `models`: the suite works inside it and takes the user's module."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.cli.parsing import parse
from bench.cli.show import Show, run
from bench.config import RequestError
from bench.runner.request import Request, resolve

ROOT = Path(__file__).resolve().parents[2]
SMALL = """
from torch import nn
from models.blocks import width

class Small(nn.Sequential):
    def __init__(self, num_classes=10):
        super().__init__(nn.Conv2d(3, width, 3), nn.Flatten(), nn.Linear(width * 900, num_classes))
"""


def bench(folder: Path, *words: str) -> str:
    """What a verb prints that is run in a folder with the suite installed in the way a clone on the path is."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bench", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=["a package", "a folder without __init__.py"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    package = tmp_path / "models"
    package.mkdir()
    (package / "small.py").write_text(SMALL)
    (package / "blocks.py").write_text("width = 4\n")
    if request.param == "a package":
        (package / "__init__.py").touch()
    return tmp_path


@pytest.mark.parametrize("project", ["a package"], indirect=True)
def test_show_takes_the_users_module(project: Path) -> None:
    said = bench(project, "show", "models.small:Small", "--input-size", "32")
    assert "36,122" in said  # 4 x 27 + 4, and 3,600 x 10 + 10


@pytest.mark.parametrize("project", ["a folder without __init__.py"], indirect=True)
def test_a_run_measures_it_in_worker_processes(project: Path) -> None:
    words = ["--models", "models.small:Small", "lenet5_cifar", "--input-size", "32", "--probes", "params", "latency"]
    bench(project, "run", *words, "--run", "own", "--device", "cpu", "--rounds", "1")
    rows = (project / "results" / "own" / "records.jsonl").read_text()
    assert '"status":"ok"' in rows.replace('": "', '":"')
    assert "failed" not in rows
    assert rows.count("latency") > 1


def test_two_runs_with_other_arguments_are_two_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def tiny(width=4, num_classes=10):\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 32), nn.Flatten(), nn.Linear(width, num_classes))\n"
    )
    words = ["run", "--models", "./mine.py:tiny", "--input-size", "32", "--probes", "params", "--device", "cpu"]
    assert main([*words, "--run", "a"]) == 0
    assert main([*words, "--run", "a", "--model-kwargs", "width=8"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "results" / "a" / "records.jsonl").read_text().splitlines()]
    counts = {row["model"]: row["value"] for row in rows if row["metric"] == "params"}
    assert counts == {"./mine.py:tiny": 4 * 3073 + 50, "./mine.py:tiny(width=8)": 8 * 3073 + 90}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--models", "lenet5_cifar", "--model-kwargs", "width=8"], "--model-kwargs is for networks such as timm:NAME"),
        (["--models", "timm:resnet18", "--model-kwargs", "width"], "--model-kwargs width: write key=value"),
    ],
)
def test_arguments_that_reach_no_factory_are_refused(words: list[str], complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        resolve(parse(Request, words, "bench run"), (), "cpu")


def test_show_refuses_no_classes() -> None:
    with pytest.raises(RequestError, match="--num-classes 0: must be above zero"):
        run(Show("timm:resnet18", num_classes=0))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a wheel installs: bench/, and models/ inside it."""
    site = tmp_path_factory.mktemp("site")
    skipped = shutil.ignore_patterns("__pycache__", "*.pyi")
    shutil.copytree(ROOT / "bench", site / "bench", ignore=skipped)
    shutil.copytree(ROOT / "models", site / "bench" / "models", ignore=skipped)
    return site


def test_an_installed_copy_works_beside_the_users_own_bench_and_models(project: Path, installed: Path) -> None:
    (project / "bench").mkdir()
    (project / "bench" / "__init__.py").write_text("raise ImportError('the user\\'s own')\n")
    script = project.parent / "classic-bench"  # as pip writes it
    script.write_text(
        f"import sys\nsys.path[:1] = [{str(installed)!r}]\nfrom bench.cli.main import main\n"
        "if __name__ == '__main__':\n    sys.exit(main())\n"
    )
    words = ["run", "--models", "models.small:Small", "./models/small.py:Small", "--input-size", "32"]
    words += ["--probes", "params", "latency", "--rounds", "1", "--device", "cpu", "--run", "own"]
    command = [sys.executable, str(script), *words]
    clone_too = {**os.environ, "PYTHONPATH": str(ROOT)}  # as `pip install -e` of a clone leaves behind
    done = subprocess.run(command, cwd=project, env=clone_too, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (project / "results" / "own" / "records.jsonl").read_text().splitlines()]
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["value"] for row in rows if row["metric"] == "params"} == {36_122}
