"""The verb: what it prints, in three forms, and how it exits."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.main import main
from tests.regression.test_compare import MODELS, store, whole_run
from tests.rows import ok


@pytest.fixture
def results(tmp_path: Path) -> Path:
    store(tmp_path, "before", whole_run(1))
    slower = [r for r in whole_run(2, resnet20_cifar=70.0) if r.model != "nin_cifar"]
    store(tmp_path, "after", [*slower, ok("lenet5_cifar", "macs", 5)], environment={"device": "Fixture CPU, 2 threads"})
    return tmp_path


def test_the_table_says_first_what_differs_then_what_changed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "before", "after", "--results-dir", str(results)]) == 0
    said = capsys.readouterr().out
    differences, missing, changed = (
        said.index(word) for word in ("torch: 2.15.0 → none", "network nin_cifar", "slower ")
    )
    assert differences < missing < changed
    assert "metric macs" in said
    assert "1 slower" in said


@pytest.mark.parametrize(("gate", "status"), [("5%", 3), ("5", 3), ("80%", 0)])
def test_the_gate_decides_the_exit_status(
    results: Path, gate: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "before", "after", "--results-dir", str(results), "--fail-on", gate]) == status
    err = capsys.readouterr().err
    assert ("resnet20_cifar train_images_per_s" in err) == (status == 3)


@pytest.mark.parametrize("output", ["stdout", "stderr"])
def test_a_gate_holds_where_nobody_reads_on(results: Path, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `| head`, where a pipe ends early."""
    reader, writer = os.pipe()
    os.close(reader)
    markdown = results / "change.md"
    gate = ["compare", "before", "after", "--results-dir", str(results), "--fail-on", "5%", "--markdown", str(markdown)]
    with os.fdopen(writer, "w", buffering=1) as nobody:
        monkeypatch.setattr(sys, output, nobody)
        assert main(gate) == 3
        assert markdown.exists()
        assert getattr(sys, output) is nobody


@pytest.mark.parametrize(("flags", "status"), [([], 0), (["--fail-on-unclear"], 4)])
def test_a_gate_that_cannot_tell_says_so_and_fails_only_where_that_is_asked_for(
    results: Path, flags: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three rounds around 70 images/s in place of 100: about 43 % more time."""
    gate = ["--fail-on", "43%", *flags]
    assert main(["compare", "before", "after", "--results-dir", str(results), *gate]) == status
    said = "not clear whether worse by more than 43 %: resnet20_cifar train_images_per_s (−"
    assert said in capsys.readouterr().err


def test_a_path_is_as_good_as_a_name(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(results / "before"), str(results / "after"), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    slower = [change for change in content["changes"] if change["verdict"] == "slower"]
    assert [change["model"] for change in slower] == ["resnet20_cifar"]
    assert slower[0]["ratio_low"] < 0.7 < slower[0]["ratio_high"]
    assert content["only_in_base"] == ["network nin_cifar"]


def test_markdown_is_a_table(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = results / "change.md"
    assert main(["compare", "before", "after", "--results-dir", str(results), "--markdown", str(file)]) == 0
    lines = file.read_text(encoding="utf-8").splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith("| verdict"))
    assert lines[head + 1] == "|---|---|---|---|---|---|---|---|---|"
    assert lines[head + 2].startswith("| slower | resnet20_cifar | train_images_per_s |")
    capsys.readouterr()
    assert main(["compare", "before", "after", "--results-dir", str(results), "--markdown", "-"]) == 0
    assert capsys.readouterr().out == file.read_text(encoding="utf-8")


def test_of_one_verdict_what_lost_most_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path, "before", whole_run(7))
    store(tmp_path, "after", whole_run(8, **{name: 80.0 - 10 * place for place, name in enumerate(MODELS[:3])}))
    assert main(["compare", "before", "after", "--results-dir", str(tmp_path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1] for row in rows if row[:1] == ["slower"]] == list(MODELS[2::-1])


def test_zero_that_stays_zero_has_not_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("before", "after"):
        store(tmp_path, name, [ok("lenet5_cifar", "uncounted_share", 0.0)])
    assert main(["compare", "before", "after", "--all", "--results-dir", str(tmp_path)]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("same")]
    assert row.split()[1:] == ["lenet5_cifar", "uncounted_share", "0", "0", "+0.0", "%", "exact", "1/1"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["before", "never"], "there is no run 'never'"),
        (["before", "before"], "are the same run"),
        (["before", "after", "--fail-on", "0.05"], "write a percentage such as 5%"),
        (["before", "after", "--fail-on-unclear"], "--fail-on-unclear: only goes with --fail-on"),
        (["before", "after", "--markdown", "/nowhere/x.md"], "--markdown: cannot write /nowhere/x.md"),
    ],
)
def test_a_wrong_request_is_one_line(
    results: Path, words: list[str], complaint: str, refused: Callable[..., str]
) -> None:
    assert complaint in refused("compare", *words, "--results-dir", str(results))


def test_a_machine_that_is_slower_as_a_whole_is_said_before_the_table_and_at_the_gate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(tmp_path, "before", whole_run(7))
    store(tmp_path, "after", whole_run(8, **dict.fromkeys(MODELS, 60.0)))
    gate = ["--fail-on", "5%", "--markdown", "-"]
    assert main(["compare", "before", "after", "--results-dir", str(tmp_path), *gate]) == 3
    said = capsys.readouterr()
    assert said.out.index("> all 6 networks moved the same way, probably by the machine") < said.out.index("| verdict")
    assert said.out.count("moved the same way") == 1  # of all metrics in a line
    (line,) = said.err.splitlines()
    assert line.startswith("worse in all networks together, probably the machine and not the code: ")
    assert line.count("train_images_per_s (−") == len(MODELS)


def test_a_gate_names_the_worst_ten_of_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"net{number:02}" for number in range(14)]
    store(tmp_path, "before", [ok(name, "params", 100) for name in names])
    store(tmp_path, "after", [ok(name, "params", 110 + number) for number, name in enumerate(names)])
    assert main(["compare", "before", "after", "--results-dir", str(tmp_path), "--fail-on", "5%"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("worse by more than 5 %: net13 params (+23.0 %), net12 params (+22.0 %), net11")
    assert line.endswith("net04 params (+14.0 %) and 4 more")
