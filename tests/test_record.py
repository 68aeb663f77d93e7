"""The run folder: nothing that was written is lost, and nothing outside it is touched."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.record import Record, Run, RunError, checked_name, run_names

RECORD = Record("resnet20_cifar", "params", "params", 269_722, "count", "ok", samples=(1.0, 2.5))


def test_a_record_survives_json() -> None:
    assert Record.from_json(RECORD.to_json()) == RECORD


def test_a_field_of_a_newer_version_is_ignored() -> None:
    line = json.dumps(json.loads(RECORD.to_json()) | {"from_the_future": 1})
    assert Record.from_json(line) == RECORD


def test_a_record_has_a_value_exactly_when_it_is_ok() -> None:
    with pytest.raises(ValueError, match="status failed"):
        replace(RECORD, status="failed")
    with pytest.raises(ValueError, match="None"):
        replace(RECORD, value=None)


def test_not_a_number_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(RECORD, value=float("nan")).to_json()


def test_what_is_appended_is_read_back_and_the_newest_row_wins(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a", {"version": 1})
    with run.writer() as writer:
        writer.append([RECORD, replace(RECORD, seed=1)])
    with run.writer() as writer:
        writer.append([replace(RECORD, value=5)])
    again = Run.open(tmp_path, "a")
    assert again.header == {"version": 1}
    assert [(r.seed, r.value) for r in again.records()] == [(0, 5), (1, 269_722)]


@pytest.mark.parametrize("cut", range(1, len(RECORD.to_json()) + 1, 7))
def test_a_torn_last_line_is_skipped_and_later_rows_are_kept(tmp_path: Path, cut: int) -> None:
    run = Run.create(tmp_path, "a", {})
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
    run = Run.create(tmp_path, "a", {})
    (run.folder / "records.jsonl").write_text("{nonsense}\n" + RECORD.to_json() + "\n")
    with pytest.raises(RunError, match="line 1"):
        run.records()


def test_two_writers_are_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a", {})
    second = (
        "import sys; from pathlib import Path; from bench.record import Run, RunError\n"
        f"run = Run.open(Path({str(tmp_path)!r}), 'a')\n"
        "try:\n    with run.writer(): pass\n"
        "except RunError as error: sys.exit(str(error))\n"
    )
    with run.writer():
        done = subprocess.run([sys.executable, "-c", second], capture_output=True, text=True, check=False)
    assert "another process is writing" in done.stderr


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc", "a b", ".hidden", "-x", "x" * 101, "a\n", "a\0"]
)
def test_names_cannot_leave_the_results_folder(name: str) -> None:
    with pytest.raises(RunError, match="run name"):
        checked_name(name)


def test_a_missing_run_names_those_that_exist(tmp_path: Path) -> None:
    Run.create(tmp_path, "there", {})
    with pytest.raises(RunError, match="there"):
        Run.open(tmp_path, "elsewhere")
    assert run_names(tmp_path) == ["there"]


def test_an_unwritable_folder_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="--results-dir"):
        Run.create(tmp_path / "file", "a", {})
