"""A user's own project may have a package called `models`: the suite works inside it and takes the user's module."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bench.cli.main import main, parse
from bench.cli.networks import Show, run_show
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
    command = [sys.executable, "-X", "importtime", "-m", "bench", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout if words[0] != "show" else done.stdout + done.stderr


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
    # Each takes a second to import, and nothing of them is needed.
    imported = {line.split("|")[-1].strip() for line in said.splitlines()}
    assert not {"torch._dynamo", "scipy.stats", "matplotlib"} & imported


@pytest.mark.parametrize("project", ["a folder without __init__.py"], indirect=True)
def test_a_run_measures_it_in_worker_processes(project: Path) -> None:
    words = ["--models", "models.small:Small", "--input-size", "32", "--probes", "params", "latency"]
    bench(project, "run", *words, "--run", "own", "--device", "cpu", "--rounds", "1")
    rows = (project / "results" / "own" / "records.jsonl").read_text()
    assert '"status":"ok"' in rows.replace('": "', '":"')
    assert "failed" not in rows
    assert rows.count("latency") > 1


def test_two_runs_with_other_arguments_are_two_networks(
    in_this_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_script_without_a_main_guard_parses_no_flags_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.py").write_text(
        "import argparse\nfrom torch import nn\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--width', type=int, default=4)\nparser.add_argument('--data', required=False)\n"
        "args = parser.parse_args()\n"
        "def net(num_classes=10):\n"
        "    return nn.Sequential(nn.Conv2d(3, args.width, 32), nn.Flatten(), nn.Linear(args.width, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", "show", "./train.py:net"])
    assert main(["show", "./train.py:net", "--input-size", "32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["params"] == 4 * 3073 + 50
    (tmp_path / "ends.py").write_text("raise SystemExit('no data')\n")
    assert main(["show", "./ends.py:net", "--input-size", "32"]) == 2
    assert "SystemExit: no data" in capsys.readouterr().err


def test_show_says_what_its_numbers_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self, num_classes=10):\n"
        "        super().__init__(12, num_classes)\n"
        "    def forward(self, x):\n"
        "        y = super().forward(x.flatten(1))\n"
        "        return [y, y + torch.linalg.svdvals(x).sum((1, 2))[:, None]]\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["show", "./mine.py:Net", "--input-size", "2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["totals"]["macs"], shown["totals"]["saved_activation_bytes"]) == (120, None)
    bound, saved = shown["notes"]
    assert bound.startswith("lower bound: no formula for aten::_linalg_svd")
    assert saved.startswith("saved activations: ValueError: the network returns")
    assert main(["show", "./mine.py:Net", "--input-size", "2"]) == 0
    assert "- lower bound: no formula" in capsys.readouterr().out


def test_a_file_without_a_factory_is_told_before_its_flags(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("./nets.py", "nets"):
        assert main(["show", name, "--input-size", "32"]) == 2
        assert f"no network is named '{name}'" in capsys.readouterr().err


def test_show_refuses_no_classes() -> None:
    with pytest.raises(RequestError, match="--num-classes 0: must be above zero"):
        run_show(Show("timm:resnet18", num_classes=0))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a wheel installs; the build backend makes it as `python -m build` would."""
    backend = pytest.importorskip("hatchling.builders.wheel")
    site = tmp_path_factory.mktemp("site")
    (wheel,) = backend.WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist")))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


@pytest.mark.parametrize("project", ["a package"], indirect=True)
def test_a_wheel_runs_all_and_report_in_another_folder_beside_the_users_own_bench_and_models(
    project: Path, installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (project / "bench").mkdir()
    (project / "bench" / "__init__.py").write_text("raise ImportError('the user\\'s own')\n")
    assert not (installed / "models").exists()
    (entry,) = (
        (installed / "classic_bench-0.1.0.dist-info" / "entry_points.txt").read_text().split("classic-bench = ")[1:]
    )
    module, function = entry.strip().split(":")
    script = tmp_path_factory.mktemp("bin") / "classic-bench"  # as pip writes it
    script.write_text(
        f"import sys\nsys.path[:1] = [{str(installed)!r}]\nfrom {module} import {function}\n"
        f"if __name__ == '__main__':\n    sys.exit({function}())\n"
    )
    home = tmp_path_factory.mktemp("home")  # empty; a clone on the path is what `pip install -e` of one leaves behind
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": str(ROOT)}

    def classic_bench(*words: str) -> str:
        command = [sys.executable, str(script), *words]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    own = ["models.small:Small", "--input-size", "32"]
    tiny = ["--budget", "0.1kimg", "--train-batch-size", "20", "--test-images", "20", "--rounds", "1", "--run", "own"]
    classic_bench("all", "--models", "lenet5_cifar", *own, "--dataset", "synthetic", *tiny, "--device", "cpu")
    rows = [json.loads(line) for line in (project / "results" / "own" / "records.jsonl").read_text().splitlines()]
    assert {row["status"] for row in rows} == {"ok", "skipped"}
    assert {row["value"] for row in rows if row["metric"] == "params"} == {36_122, 62_006}
    page = project / "reports" / "own" / "index.html"
    first = page.read_bytes()
    page.unlink()
    assert "index.html" in classic_bench("report", "own")
    assert len(page.read_bytes()) > len(first) / 2
