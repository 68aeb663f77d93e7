"""A measured number with everything needed to believe it, and the run folder that keeps such numbers.

results/<run>/run.json       what was asked, where, with which data (written once, atomically)
results/<run>/records.jsonl  one record a line, appended and fsynced
results/<run>/curves/        training curves as Parquet, one file per (model, seed)
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

Status = Literal["ok", "skipped", "failed", "oom", "timeout"]
RecordKey = tuple[str, str, str, int, int]  # model, probe, metric, seed, round


@dataclass(frozen=True)
class Record:
    """One metric of one model, as measured once. `value` is None unless `status` is "ok"."""

    model: str
    probe: str
    metric: str
    value: float | None
    unit: str
    status: Status
    note: str = ""  # the reason where status is not "ok"; else what a reader must know
    samples: tuple[float, ...] = ()  # raw, in `unit`; statistics are derived when rendering
    trials: int | None = None  # how many yes-or-no trials stand behind a fraction
    seconds: float = 0.0  # wall-clock of the task that produced it
    seed: int = 0
    round: int = 0  # timings are taken several times over all networks, each time in another order
    batch_size: int | None = None  # as used
    asked_batch_size: int | None = None  # where memory did not suffice, the batch size is a smaller one
    predicted: bool = False  # worked out, not measured
    precision: str = "fp32"
    memory_format: str = "contiguous"
    compile: bool = False
    cuda_graphs: bool = False
    device: str = ""  # "cpu", "cuda:0"; "meta" where no arithmetic was done
    dataset: str | None = None  # what the network was trained and tested on
    budget: str | None = None  # "10ep"

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise ValueError(f"unknown status {self.status!r}")
        if (self.value is None) == (self.status == "ok"):
            raise ValueError(f"{self.model} {self.metric}: value {self.value} with status {self.status}")

    @property
    def failed(self) -> bool:
        """Whether something went wrong; a measurement that does not apply is no failure."""
        return self.status not in ("ok", "skipped")

    @property
    def key(self) -> RecordKey:
        return self.model, self.probe, self.metric, self.seed, self.round

    def to_json(self) -> str:
        return json.dumps(asdict(self), allow_nan=False)

    @staticmethod
    def from_json(line: str) -> Record:
        raw = json.loads(line)
        known = {field.name for field in fields(Record)}  # a newer version may have added fields
        values: dict[str, Any] = {key: value for key, value in raw.items() if key in known}
        values["samples"] = tuple(values.get("samples", ()))
        return Record(**values)


class RunError(Exception):
    """A run folder that cannot be created, read or written; the message says what to do."""


class Run:
    """One folder of results: opened for reading, or created and then appended to by one writer."""

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.folder = folder
        self.header = header

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def curves(self) -> Path:
        return self.folder / "curves"

    def curve_path(self, model: str, seed: int) -> Path:
        """Where a training curve is kept. Any name is a plain file name here: "timm:x/y" becomes timm%3Ax%2Fy."""
        return self.curves / f"{quote(model, safe='')}-seed{seed}.parquet"

    @staticmethod
    def create(results: Path, name: str, header: dict[str, Any]) -> Run:
        """Make the folder and its run.json.

        Raises:
            RunError: the name is not a plain file name, or the folder cannot be written.
        """
        folder = results / checked_name(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write_atomically(folder / "run.json", json.dumps(header, indent=2, allow_nan=False) + "\n")
        except OSError as error:
            raise RunError(f"cannot write {folder}: {error.strerror}; choose another --results-dir") from error
        return Run(folder, header)

    @staticmethod
    def open(results: Path, name: str) -> Run:
        """Read an existing run.

        Raises:
            RunError: there is no such run, or its run.json is damaged.
        """
        folder = results / checked_name(name)
        try:
            header = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            known = ", ".join(run_names(results)[:5]) or "none yet"
            raise RunError(f"there is no run {name!r} in {results}; newest runs: {known}") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{folder / 'run.json'} cannot be read: {error}") from error
        if not isinstance(header, dict):
            raise RunError(f"{folder / 'run.json'} is not a JSON object")
        return Run(folder, header)

    def records(self) -> list[Record]:
        """Every number of the run: the newest row of each key, in the order first written."""
        newest: dict[RecordKey, Record] = {}
        for record in _read_lines(self.folder / "records.jsonl"):
            newest[record.key] = record
        return list(newest.values())

    @contextmanager
    def writer(self) -> Iterator[RecordWriter]:
        """The one writer of this run.

        Raises:
            RunError: another process is writing to the same run, or the folder cannot be written.
        """
        path = self.folder / "records.jsonl"
        try:
            _end_torn_line(path)
            file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}; choose another --results-dir") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunError(f"another process is writing to run {self.name!r}; choose another --run") from None
            yield RecordWriter(file)


class RecordWriter:
    def __init__(self, file: Any) -> None:
        self._file = file

    def append(self, records: Iterable[Record]) -> None:
        """Write whole lines and return only when they are on the disk."""
        self._file.write("".join(record.to_json() + "\n" for record in records))
        self._file.flush()
        os.fsync(self._file.fileno())


def run_names(results: Path) -> list[str]:
    """Names of the runs in a results folder, newest first."""
    headers = sorted(results.glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent.name for path in headers]


def checked_name(name: str) -> str:
    """`name` if it can be the name of a run's folder and of nothing else.

    Raises:
        RunError: it could leave the results folder or would not work on every file system.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise RunError(f"run name {name!r}: use letters, digits, '.', '_' and '-', starting with a letter or digit")
    return name


def _read_lines(path: Path) -> Iterator[Record]:
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").split("\n")
    torn = len(lines) - 1  # what follows the last newline: empty, or a line that a crash cut short
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            yield Record.from_json(line)
        except (ValueError, TypeError) as error:
            if number != torn and not line.endswith(_TORN):
                raise RunError(f"{path} line {number + 1} is damaged: {error}; remove that line") from error


_TORN = "\x18"  # CANCEL: marks a line that a crash cut short, so that later lines stay readable


def _end_torn_line(path: Path) -> None:
    """Close a last line that has no newline, so that the next record starts on a line of its own."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(f"{_TORN}\n".encode())


def _write_atomically(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
