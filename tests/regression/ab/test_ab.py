"""The verb with real workers, kept to a few seconds, and everything that is wrong with a request."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.cli.ab import joined
from bench.cli.main import main
from bench.config import RequestError
from bench.regression.ab.process import Failed, Job, running
from bench.regression.ab.sides import ROOT, WORKING_TREE, Asked, Side, revision_of, sides

IN_GIT = revision_of("HEAD") is not None


def test_two_sets_of_flags_are_measured_alternately_and_a_broken_network_spoils_only_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [
        "ab",
        "--models",
        "lenet5_mnist",
        "tests.regression.ab.broken:Broken",
        "--input-size",
        "32",
        "--what",
        "inference",
    ]
    status = main([*words, "--device", "cpu", "--b", "--batch-size 64", "--time-limit", "2", "--json"])
    assert status == 1
    said = json.loads(capsys.readouterr().out)
    measured, broken = said["comparisons"]
    assert broken["verdict"] is None
    assert "this network cannot run" in broken["failure"]
    assert measured["a"] == measured["b"] == "lenet5_mnist"
    assert measured["batch_sizes"][1] == 64
    assert measured["verdict"] in ("faster", "slower", "same", "unclear")
    assert all(a > 0 and b > 0 for a, b, _, _ in measured["pairs"])
    assert said["b"]["label"] == "B (--batch-size 64)"


@pytest.mark.gpu
def test_two_precisions_are_measured_alternately_on_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ab", "--models", "resnet20_cifar", "--device", "cuda", "--time-limit", "5", "--json"]
    assert main([*words, "--a", "--precision tf32", "--b", "--precision bf16"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [comparison["step"] for comparison in said["comparisons"]] == ["inference", "train"]
    assert all(comparison["verdict"] for comparison in said["comparisons"])
    assert said["a"]["device"] == said["b"]["device"] != "cpu"


def test_a_tree_that_is_too_old_says_so(tmp_path: Path) -> None:
    for package in ("bench", "models"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    side = Side("A (old)", sys.executable, tmp_path, ())
    with pytest.raises(RequestError, match=r"A \(old\): it cannot time its own steps"), running(side, 60.0) as worker:
        worker.wait_until_ready()


def test_an_interpreter_that_does_not_work_says_so() -> None:
    dead = Side("B", "/bin/false", ROOT, ())
    with pytest.raises(RequestError, match="B: its process ended with status 1"), running(dead, 60.0) as worker:
        worker.wait_until_ready()
    absent = Side("B", "/nowhere/python", ROOT, ())
    with pytest.raises(RequestError, match="B: cannot run /nowhere/python: No such file"), running(absent, 60.0):
        pass


def test_a_worker_refuses_flags_answers_questions_sleeps_and_ends() -> None:
    with running(Side("A", sys.executable, ROOT, ("--device", "cpu")), 60.0) as worker:
        worker.wait_until_ready()
        process = worker._process
        assert worker.build(Job("lenet5_mnist", "train")).batch_size >= 1
        assert 0 < worker.sample(2) < 1
        before = _processor_seconds(worker.process_id)
        time.sleep(0.5)
        assert _processor_seconds(worker.process_id) - before < 0.05  # whoever waits leaves the processor to the other
        with pytest.raises(Failed, match="A: no network is named 'lenet6'"):
            worker.build(Job("lenet6", "train"))
        with pytest.raises(Failed, match="A: nothing is built"):
            worker.sample(1)
        worker.build(Job("lenet5_mnist", "inference"))
        assert worker.sample(1) > 0
    assert process.poll() is not None


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.skipif(not IN_GIT, reason="needs a git checkout")
def test_revisions_are_checked_out_and_gone_afterwards() -> None:
    before = _worktrees()
    asked = (Asked("A", "HEAD", None, ""), Asked("B", WORKING_TREE, None, "--precision bf16"))
    with sides(asked, ["--device", "cpu"], are_revisions=True) as (a, b):
        assert (a.tree / "models" / "__init__.py").is_file()
        assert a.tree != ROOT
        assert b == Side(
            "B (working tree, --precision bf16)", sys.executable, ROOT, ("--device", "cpu", "--precision", "bf16")
        )
        assert len(_worktrees()) == len(before) + 1
    assert not a.tree.exists()
    assert _worktrees() == before


def _worktrees() -> list[str]:
    words = ["git", "-C", str(ROOT), "worktree", "list", "--porcelain"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\n\n")


def test_flags_of_a_side_are_tied_to_their_name() -> None:
    assert joined(["ab", "--a", "--precision tf32", "--b=--compile", "x"]) == [
        "ab", "--a=--precision tf32", "--b=--compile", "x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["lenet5_cifar"], "name two sides"),
        ([], "nothing to compare"),
        (["lenet5_cifar", "no-such-thing"], "'no-such-thing' is neither a network"),
        (["lenet5_cifar", "."], "not one of each"),
        (["no-such-thing", "HEAD"], "'no-such-thing' is neither a network"),
        (["resnet*", "lenet5_cifar"], "'resnet*' is more than one network"),
        (["lenet5_cifar", "nin_cifar", "--models", "vgg11_bn_cifar"], "A and B are networks"),
        (["--b", "--precision tf64"], "--b '--precision tf64'"),
        (["--b", "--budget 10ep"], "--b: --budget changes no step"),
        (["--b", '--precision "tf32'], "No closing quotation"),
        (["--b", "--compile", "--models", "lenet6"], "no network is named 'lenet6'"),
        (["lenet5_cifar", "nin_cifar", "--margin", "2"], "--margin '2': write a percentage"),
        (["lenet5_cifar", "nin_cifar", "--fail-on", "much"], "--fail-on 'much': write a percentage"),
        (["lenet5_cifar", "nin_cifar", "--time-limit", "0"], "--time-limit 0: must be above zero"),
    ],
)
def test_a_wrong_request_is_said_in_one_line_before_any_work(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_work(*_: object, **__: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr("bench.regression.ab.process.crew", no_work)
    assert main(["ab", *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert complaint in line
