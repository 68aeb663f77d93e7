"""The verb with real workers, kept to a few seconds, and everything that is wrong with a request."""

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli.ab import Ab, exit_status
from bench.cli.main import main
from bench.config import RequestError
from bench.regression.ab.paired import Pair, PairedComparison, Pairing, Result
from bench.regression.ab.sides import SUITE, WORKING_TREE, Asked, Failed, Repository, Side, running, sides
from bench.runner.flags import parse
from tests.own_repository import NET, commit

HERE = Repository(SUITE, "")
IN_GIT = HERE.has("HEAD")
MOVED = ("2e3449f", "6e3b938")  # with flat modules; with rooms, and steps of a network and a configuration


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
    status = main([*words, "--device", "cpu", "--b", "--batch-size 64", "--time-limit", "1", "--json"])
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
    side = Side("A (old)", sys.executable, tmp_path, tmp_path, ())
    with pytest.raises(RequestError, match=r"A \(old\): it cannot time its own steps"), running(side, 60.0) as worker:
        worker.wait_until_ready()


def test_an_interpreter_that_does_not_work_says_so() -> None:
    dead = Side("B", "/bin/false", SUITE, SUITE, ())
    with pytest.raises(RequestError, match="B: its process ended with status 1"), running(dead, 60.0) as worker:
        worker.wait_until_ready()
    absent = Side("B", "/nowhere/python", SUITE, SUITE, ())
    with pytest.raises(RequestError, match="B: cannot run /nowhere/python: No such file"), running(absent, 60.0):
        pass


def test_a_worker_refuses_flags_answers_questions_sleeps_and_ends() -> None:
    with running(Side("A", sys.executable, SUITE, SUITE, ("--device", "cpu")), 60.0) as worker:
        worker.wait_until_ready()
        process = worker._process
        assert worker.build("lenet5_mnist", "train").batch_size >= 1
        assert 0 < worker.sample(2) < 1
        before = _processor_seconds(worker._process.pid)
        time.sleep(0.5)
        assert (
            _processor_seconds(worker._process.pid) - before < 0.05
        )  # whoever waits leaves the processor to the other
        with pytest.raises(Failed, match="A: no network is named 'lenet6'"):
            worker.build("lenet6", "train")
        with pytest.raises(Failed, match="A: nothing is built"):
            worker.sample(1)
        worker.build("lenet5_mnist", "inference")
        assert worker.sample(1) > 0
    assert process.poll() is not None


def test_a_worker_whose_process_ends_is_another_one_for_the_next_network() -> None:
    with running(Side("A", sys.executable, SUITE, SUITE, ("--device", "cpu", "--input-size", "32")), 60.0) as worker:
        worker.wait_until_ready()
        with pytest.raises(Failed, match="A: its process ended with status 3; last output: gone"):
            worker.build("tests.regression.ab.broken:Fatal", "inference")
        worker.build("lenet5_mnist", "inference")
        assert worker.sample(1) > 0
        process = worker._process
        worker._answer_limit_s = 0.0
        with pytest.raises(Failed, match="A: no answer for 0 s"):
            worker.build("lenet5_mnist", "inference")
        worker._answer_limit_s = 60.0
        with pytest.raises(Failed, match="cannot run"):
            worker.build("tests.regression.ab.broken:Broken", "inference")
        assert worker._process is not process
        process = worker._process
        worker.facts["device"] = "NVIDIA H100"  # after a failure on a GPU nothing may work there but for a new process
        with pytest.raises(Failed, match="cannot run"):
            worker.build("tests.regression.ab.broken:Broken", "inference")
        assert worker._process is process
        worker.build("lenet5_mnist", "train")
        assert worker._process is not process


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.skipif(not IN_GIT, reason="needs a git checkout")
def test_revisions_are_checked_out_and_gone_afterwards() -> None:
    asked = (Asked("A", "HEAD", None, ""), Asked("B", WORKING_TREE, None, "--precision bf16"))
    with sides(asked, ["--device", "cpu"], HERE) as (a, b):
        assert (a.suite / "models" / "__init__.py").is_file()
        assert a.suite == a.folder != SUITE
        assert b == Side(
            "B (working tree, --precision bf16)",
            sys.executable,
            SUITE,
            SUITE,
            ("--device", "cpu", "--precision", "bf16"),
        )
        assert str(a.suite) in _worktrees()
    assert not a.suite.exists()
    assert str(a.suite) not in _worktrees()


@pytest.mark.skipif(not all(map(HERE.has, MOVED)), reason="needs the history of this repository")
@pytest.mark.parametrize("revision", MOVED)
def test_revisions_from_before_the_rooms_are_timed_as_well(revision: str) -> None:
    asked = (Asked("A", revision, None, ""), Asked("B", WORKING_TREE, None, ""))
    with sides(asked, ["--device", "cpu"], HERE) as (old, _), running(old, 60.0) as worker:
        worker.wait_until_ready()
        assert worker.facts["execution"] == "fp32, channels_last"
        assert worker.build("lenet5_cifar", "inference").batch_size == 16
        assert worker.sample(2) > 0


def _worktrees() -> str:
    words = ["git", "-C", str(SUITE), "worktree", "list", "--porcelain"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_flags_of_a_side_may_follow_its_name_or_be_tied_to_it() -> None:
    read = parse(Ab, ["--a", "--precision tf32", "--b=--compile", "--seed", "-1"], "ab")
    assert (read.a, read.b, read.seed) == ("--precision tf32", "--compile", -1)


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
        (["lenet5_cifar", "nin_cifar", "--batch-size", "0"], "--batch-size 0: must be above zero"),
        (["lenet5_cifar", "nin_cifar", "--device", "gpu"], "device 'gpu': write auto, cpu,"),
        (["--b", "--batch-size -1", "--models", "lenet5_cifar"], "--batch-size -1: must be above zero"),
        (["--b", "--precision tf32", "--device", "cpu", "--models", "lenet5_cifar"], "--precision tf32: only GPUs"),
        (["lenet5_cifar", "nin_cifar", "--margin", "0.02"], "--margin '0.02': write a percentage"),
        (["lenet5_cifar", "nin_cifar", "--fail-on", "much"], "--fail-on 'much': write a percentage"),
        (["lenet5_cifar", "nin_cifar", "--time-limit", "0"], "--time-limit 0s: write a number above zero"),
        (["lenet5_cifar", "nin_cifar", "--fail-on-unclear"], "--fail-on-unclear: only goes with --fail-on"),
    ],
)
def test_a_wrong_request_is_said_in_one_line_before_any_work(
    words: list[str], complaint: str, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_work(*_: object, **__: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr("bench.regression.ab.sides.workers", no_work)
    assert complaint in refused("ab", *words)


def test_what_is_doubtful_about_a_device_is_said_once_before_any_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_work(*_: object, **__: object) -> None:
        raise RequestError("a worker would start")

    monkeypatch.setattr("bench.regression.ab.sides.workers", no_work)
    monkeypatch.setattr("bench.device.environment.busy_gpus", lambda devices: ["cuda:0: others compute on it"])
    assert main(["ab", "lenet5_cifar", "nin_cifar", "--device", "cpu"]) == 2
    assert capsys.readouterr().err.count("cuda:0: others compute on it\n") == 1


def result(low: float, high: float) -> Result:
    """A comparison of which only the interval matters: percents of the time of B above that of A."""
    interval = (math.log1p(low / 100), math.log1p(high / 100))
    pairs = (Pair(1.0, 1.0, True, 0),)
    return Result(
        Pairing("x", "x", "train"), PairedComparison(sum(interval) / 2, interval, pairs, 1.0, "unclear"), (1, 1)
    )


SLOWER, CLEAR, UNCLEAR = result(6, 9), result(1, 4), result(3, 8)  # by more than 5 %?
FAILED = Result(Pairing("y", "y", "train"), failure="it cannot run")


@pytest.mark.parametrize(
    ("results", "gate", "status"),
    [
        ([CLEAR, UNCLEAR, SLOWER], {}, 0),
        ([CLEAR, FAILED], {}, 1),
        ([CLEAR], {"fail_on": "5%", "fail_on_unclear": True}, 0),
        ([UNCLEAR], {"fail_on": "5%"}, 0),
        ([UNCLEAR, FAILED, SLOWER], {"fail_on": "5%", "fail_on_unclear": True}, 3),
        ([UNCLEAR, FAILED], {"fail_on": "5%", "fail_on_unclear": True}, 1),
        ([UNCLEAR, CLEAR], {"fail_on": "5%", "fail_on_unclear": True}, 4),
    ],
)
def test_the_exit_status_is_that_of_the_gate_then_of_failures_then_of_doubt(
    results: list[Result], gate: dict[str, Any], status: int
) -> None:
    assert exit_status(Ab(**gate), results, 0.05 if gate else None) == status


def test_the_speeds_of_both_sides_agree_with_the_ratio() -> None:
    assert result(100, 100).rates == pytest.approx((1.0, 0.5))  # whatever the median of B's own samples is


def test_a_difference_that_is_not_clear_is_not_passed_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(Ab(fail_on="5%"), [CLEAR, result(-20, 3000)], 0.05) == 0
    assert capsys.readouterr().err == "not clear whether worse by more than 5 %: x train (+398 %)\n"


@pytest.fixture
def own_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two revisions of a project that is not the suite: a network, and one half as fast."""
    commit(
        tmp_path,
        *(
            {
                "mine.py": "from tyro import number\n" + NET.format(products=products, width=64),
                "models/__init__.py": f"number = {number}\n",  # the suite has a package called models too
                "tyro.py": "number = 1\n",  # for which older revisions of the suite need a stand-in
            }
            for number, products in enumerate((50, 100))
        ),
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


OWN = ["--models", "mine:Net", "--input-size", "8", "--num-classes", "4", "--what", "inference", "--device", "cpu"]


def test_revisions_of_a_repository_of_ones_own_are_compared_and_the_gate_sees_a_planted_slow_down(
    own_repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cli.ab.WORKERS", 1)
    gate = ["--fail-on", "5", "--fail-on-unclear", "--markdown", "change.md"]
    assert main(["ab", "HEAD~1", "HEAD", *OWN, *gate]) == 3
    printed = capsys.readouterr()
    assert f"revisions of {own_repository}" in printed.err
    assert "worse by more than 5 %: mine:Net inference (+" in printed.err
    lines = Path("change.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if "mine" in line]
    assert line.startswith("| mine:Net | inference | slower | +")
    assert all(re.match(rf"- {side} \(HEAD.*, torch \d", told) for side, told in zip("AB", lines[-2:], strict=True))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["HEAD~1", "HEAD"], "--models: name networks of {here} as package.module:factory"),
        (["HEAD~1", "HEAD", "--models", "lenet5_cifar"], "--models lenet5_cifar: name networks of {here}"),
        (["HEAD~1", "HEAD", "--models", "bench.nets:Net"], "suite's own package: of yours, write ./bench/nets.py:Net"),
        (["HEAD~1", "HEAD", "--models", "timm:x"], "--models timm:x: name networks of {here}"),
        (
            ["HEAD~7", "HEAD", "--models", "mine:Net"],
            "'HEAD~7' is neither a network (see `python -m bench list`) nor a",
        ),
        (["HEAD~1", "HEAD", "--models", f"{SUITE}/mine.py:Net"], "name the file from the current folder, such as ./"),
    ],
)
def test_a_wrong_request_about_a_repository_of_ones_own_is_one_line(
    own_repository: Path, words: list[str], complaint: str, refused: Callable[..., str]
) -> None:
    assert complaint.format(here=own_repository) in refused("ab", *words)


def test_a_shallow_clone_says_how_to_get_the_revision(
    own_repository: Path, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = ["git", "clone", "-q", "--depth", "1", f"file://{own_repository}", str(tmp_path / "shallow")]
    subprocess.run(clone, check=True)
    monkeypatch.chdir(tmp_path / "shallow")
    said = refused("ab", "HEAD~1", "HEAD", "--models", "mine:Net")
    assert "it is a shallow clone: `git fetch --unshallow`, or fetch-depth: 0" in said


def test_a_repository_that_git_refuses_is_not_taken_for_the_suites_own(
    own_repository: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as in a container that mounts somebody's repository
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    line = refused("ab", "HEAD~1", "HEAD", "--models", "torchvision:resnet18")
    assert f"git refuses {own_repository}: detected dubious ownership" in line
    assert line.endswith(f"`git config --global --add safe.directory {own_repository}`")


def test_a_checkout_leaves_what_is_staged_alone_in_a_hook_too(
    own_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_repository / "mine.py").write_text("staged = 1\n", encoding="utf-8")
    subprocess.run(["git", "add", "mine.py"], check=True)
    index = own_repository / ".git" / "index"
    staged = index.read_bytes()
    monkeypatch.setenv("GIT_INDEX_FILE", str(index))  # as `git commit -a` tells its hooks
    monkeypatch.setenv("GIT_DIR", str(own_repository / ".git"))
    with Repository(own_repository, "").checkout("HEAD~1") as tree:
        assert "Net" in (tree / "mine.py").read_text(encoding="utf-8")
    assert index.read_bytes() == staged


def test_a_checkout_has_the_submodules_of_the_working_tree(
    own_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, setting in enumerate(("protocol.file.allow=always", "user.name=a", "user.email=a@example.org")):
        key, value = setting.split("=")
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "3")
    other = tmp_path / "other"
    other.mkdir()
    commit(other, {"layers.py": "width = 1\n"})
    for words in (["submodule", "--quiet", "add", str(other), "blocks"], ["commit", "-q", "-m", "blocks"]):
        subprocess.run(["git", *words], check=True)
    with Repository(own_repository, "").checkout("HEAD") as tree:
        assert (tree / "blocks" / "layers.py").is_file()
    assert not tree.exists()


def test_a_network_that_is_installed_from_elsewhere_is_refused(own_repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    side = Side("A", sys.executable, SUITE, own_repository, ("--input-size", "8"), tree)
    with running(side, 60.0) as worker:
        worker.wait_until_ready()
        with pytest.raises(Failed, match=r"A: its Python takes mine from .*mine.py, not from .*tree"):
            worker.build("mine:Net", "inference")
