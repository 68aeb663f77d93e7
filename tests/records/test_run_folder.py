"""The run folder: nothing that was written is lost, and nothing outside it is touched."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.config import Budget, Execution, MemorySize
from bench.records.run_folder import (
    Forced,
    Model,
    Run,
    RunError,
    RunHeader,
    Session,
    checked_name,
    header_of,
    next_start,
    run_names,
    unused_name,
)
from bench.runner.request import Request, resolve
from tests.configs import new_run
from tests.rows import ok

RECORD = ok("resnet20_cifar", "params", 269_722, samples=(1.0, 2.5))


def test_what_is_appended_is_read_back_and_the_newest_row_wins(tmp_path: Path) -> None:
    run = new_run(tmp_path, "a", RunHeader(name="a"))
    with run.writer() as writer:
        writer.append([RECORD, replace(RECORD, seed=1)])
    with run.writer() as writer:
        writer.append([replace(RECORD, value=5)])
    again = Run.open(tmp_path, "a")
    assert again.header == RunHeader(name="a")
    assert [(r.seed, r.value) for r in again.records()] == [(0, 5), (1, 269_722)]


@pytest.mark.parametrize("cut", range(1, len(RECORD.to_json()) + 1, 7))
def test_a_torn_last_line_is_skipped_and_later_rows_are_kept(tmp_path: Path, cut: int) -> None:
    run = new_run(tmp_path, "a", RunHeader())
    with run.writer() as writer:
        writer.append([RECORD])
    with (run.folder / "records.jsonl").open("a") as file:
        file.write(replace(RECORD, seed=1).to_json()[:cut])
    assert next(r.seed for r in run.records()) == 0
    with run.writer() as writer:
        writer.append([replace(RECORD, seed=2)])
    seeds = [r.seed for r in run.records()]
    assert seeds[0] == 0
    assert seeds[-1] == 2


def test_damage_in_the_middle_is_reported_with_its_line(tmp_path: Path) -> None:
    run = new_run(tmp_path, "a", RunHeader())
    (run.folder / "records.jsonl").write_text("{nonsense}\n" + RECORD.to_json() + "\n")
    with pytest.raises(RunError, match="line 1"):
        run.records()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc", "a b", ".hidden", "-x", "x" * 101, "a\n", "a\0"]
)
def test_names_cannot_leave_the_results_folder(name: str) -> None:
    with pytest.raises(RunError, match="run name"):
        checked_name(name)


def test_a_missing_run_names_those_that_exist(tmp_path: Path) -> None:
    new_run(tmp_path, "there", RunHeader())
    with pytest.raises(RunError, match="there"):
        Run.open(tmp_path, "elsewhere")
    assert run_names(tmp_path) == ["there"]


def test_an_unwritable_folder_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="--results-dir"):
        new_run(tmp_path / "file", "a", RunHeader())


def test_a_claimed_run_is_closed_to_others_before_its_header_is_read(tmp_path: Path) -> None:
    run = new_run(tmp_path, "a", RunHeader())
    second = """
import sys
from pathlib import Path
from bench.records.run_folder import Run, RunError, RunHeader
from tests.configs import new_run
from tests.rows import ok
results = Path(sys.argv[1])
for claim in (Run.open(results, "a").writer().__enter__, lambda: new_run(results, "a", RunHeader(name="other"))):
    try:
        claim()
    except RunError as error:
        print(error)
"""
    with run.writer():
        done = subprocess.run([sys.executable, "-c", second, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.count("another process is writing") == 2
    assert Run.open(tmp_path, "a").header == RunHeader()


class _FullDisk:
    """A file on a disk that has room for so many bytes more."""

    def __init__(self, file: io.FileIO, room: int) -> None:
        self._file = file
        self._room = room

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def write(self, data: memoryview) -> int:
        if not self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._file.write(data[: self._room])
        self._room -= written
        return written


@pytest.mark.parametrize("room", [0, 1, 200, 400])
def test_a_full_disk_costs_nothing_that_was_written_before(tmp_path: Path, room: int) -> None:
    run = new_run(tmp_path, "a", RunHeader())
    with run.writer() as writer:
        writer.append([RECORD])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "_file", _FullDisk(run._file, room))  # type: ignore[arg-type]
            with pytest.raises(OSError, match="No space left"):
                writer.append([replace(RECORD, seed=1), replace(RECORD, seed=2)])
        assert run.records() == [RECORD]
        writer.append([replace(RECORD, seed=3)])  # there is room again
    assert [record.seed for record in run.records()] == [0, 3]
    assert (run.folder / "records.jsonl").read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("then", ["more rows", "the end"])
def test_a_folder_that_is_removed_meanwhile_is_said(tmp_path: Path, then: str) -> None:
    run = new_run(tmp_path / "results", "a", RunHeader())

    def write_and_remove() -> None:
        with run.writer() as writer:
            writer.append([RECORD])
            shutil.rmtree(tmp_path / "results")
            if then == "more rows":
                writer.append([replace(RECORD, seed=1)])

    with pytest.raises(RunError, match="was removed or replaced"):
        write_and_remove()


def test_a_folder_that_another_run_has_taken_is_not_written_to(tmp_path: Path) -> None:
    run = new_run(tmp_path, "a", RunHeader())

    def write_and_replace() -> None:
        with run.writer():
            run.append([RECORD])
            shutil.rmtree(run.folder)
            new_run(tmp_path, "a", RunHeader(name="other"))
            run.append([replace(RECORD, seed=1)])

    with pytest.raises(RunError, match="was removed or replaced"):
        write_and_replace()
    assert Run.open(tmp_path, "a").records() == []


def test_the_last_started_run_is_first_whatever_the_clock_says(tmp_path: Path) -> None:
    for number, name in enumerate(["first", "second", "third"]):
        run = new_run(tmp_path, name, RunHeader(start=next_start(tmp_path)))
        os.utime(run.folder / "run.json", (1000 - number, 1000 - number))  # set back again and again
    assert run_names(tmp_path) == ["third", "second", "first"]
    (tmp_path / "second" / "run.json").write_text("{")
    assert run_names(tmp_path) == ["third", "first", "second"]
    assert unused_name(tmp_path, "third") == "third-2"
    assert unused_name(tmp_path, "fourth") == "fourth"


ROOT = Path(__file__).resolve().parents[2]
CONFIG, _ = resolve(Request(budget=("1ep", "60s"), fit="16GiB", test_images=100), (), "cpu")
HEADER = RunHeader(
    name="a",
    command=("bench", "all"),
    config=CONFIG,
    models=(Model("resnet20_cifar", "ResNet", 2015, input_size=(3, 32, 32)),),
    sessions=(Session("2026-01-31T12:00:00+00:00", {"cpu_mhz": 2000}),),
    forced=(Forced("2026-02-01T12:00:00+00:00", ("seeds 1 (now 2)",)),),
)


def test_a_header_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    new_run(tmp_path, "a", HEADER)
    assert Run.open(tmp_path, "a").header == HEADER


def test_what_is_asked_is_told_by_name_and_the_fixed_part_of_it_apart() -> None:
    settings, fixed = HEADER.settings(), CONFIG.settings(fixed=True)
    assert (settings["budget"], settings["other_budgets"], settings["fit"]) == ("1ep", ["60s"], "16GiB")
    assert list(fixed) == [
        *("batch_size", "train_batch_size", "test_images", "measure_seconds"),
        *("precision", "memory_format", "compile", "cuda_graphs", "compile_mode", "fit"),
    ]
    assert set(settings) - set(fixed) == {"preset", "budget", "seeds", "rounds", "other_budgets", "weights"}


def test_a_run_of_the_first_version_opens_with_all_that_it_says() -> None:
    stored = Run.open(ROOT / "results", "quick-cpu")
    raw = json.loads((stored.folder / "run.json").read_text())
    header = header_of(
        {
            "preset": "quick",
            "budget": "12s",
            "other_budgets": ["1ep"],
            "seeds": 1,
            "rounds": 5,
            "fit": "16GiB",
            "batch_size": {"cifar": 16},
            "train_batch_size": 32,
            "test_images": 1000,
            "measure_seconds": 0.25,
            "precision": "bf16",
            "memory_format": "channels_last",
            "compile": False,
            "cuda_graphs": None,
            "tune": 20,
            "conditions": [{"started": "2026-01-31", "before": {"cpu_mhz": 2000}}],
        }
    )
    assert header.config is not None
    assert (header.config.budget, header.config.other_budgets) == (Budget(12, "s"), (Budget(1, "ep"),))
    assert header.config.execution == Execution("bf16", "channels_last", False, None)
    assert header.config.fit == MemorySize(16, "GiB")
    assert (header.config.rounds, header.config.test_images) == (5, 1000)
    assert header.sessions == (Session("2026-01-31", {"cpu_mhz": 2000}),)
    assert stored.header.config is not None
    assert [model.name for model in stored.header.models] == [model["name"] for model in raw["models"]]
    assert stored.header.environment == raw["environment"]


def test_fields_of_a_newer_version_are_ignored() -> None:
    content = {**json.loads(HEADER.to_json()), "weather": "rain"}
    content["models"][0]["colour"] = "blue"
    assert header_of(content) == HEADER


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"models": [{"name": 3}]}, "$.models[0].name"),
        ({"start": True}, "$.start"),
        ({"config": {**json.loads(HEADER.to_json())["config"], "seeds": "two"}}, "$.config.seeds"),
        ({"environment": []}, "$.environment"),
        ({"created": 7}, "$.created"),
        ({"limits": []}, "$.limits"),
        ({"limits": None}, "$.limits"),
        ({"sessions": {}}, "$.sessions"),
        ({"sessions": [{"before": 3}]}, "$.sessions[0].before"),
        ({"sessions": [{}, None]}, "$.sessions[1]"),
    ],
)
def test_damage_is_named_with_its_file_and_place(tmp_path: Path, change: dict[str, object], words: str) -> None:
    run = new_run(tmp_path, "a", HEADER)
    (run.folder / "run.json").write_text(json.dumps({**json.loads(HEADER.to_json()), **change}))
    with pytest.raises(RunError) as refused:
        Run.open(tmp_path, "a")
    assert "run.json" in str(refused.value)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_budget_that_is_none_is_refused_in_an_old_run_too() -> None:
    with pytest.raises(ValueError, match="budget 'soon'"):
        header_of({"budget": "soon"})


def test_the_device_is_empty_where_it_is_not_known() -> None:
    assert RunHeader().device == ""
    assert replace(HEADER, environment={"device": "a CPU"}).device == "a CPU"
