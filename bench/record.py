"""A measured number with everything needed to believe it, and the run folder that keeps such numbers.

results/<run>/run.json       what was asked, where, with which data (written once, atomically)
results/<run>/recipes.json   recipes found by --tune, by family
results/<run>/records.jsonl  one record a line, appended and fsynced
results/<run>/checkpoints/   from which trainings go on that were interrupted
results/<run>/tensorboard/   training curves as TensorBoard events, if asked for
results/<run>/curves/        curves as Parquet: one of training per (model, seed, budget), others by their probe
results/<run>/confusions/    what each trained network took the test images for, as Parquet: label, predicted, count
results/<run>/layers/        what each layer of each network costs, as Parquet
results/<run>/networks.json  structure of one network of each family
results/<run>/samples-*.png  an image of each class of each data set
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import math
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints
from urllib.parse import quote

Status = Literal["ok", "skipped", "failed", "oom", "timeout"]
RecordKey = tuple[str, str, str, int, int, str | None]  # model, probe, metric, seed, round, budget


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
    hardware: str = ""  # "NVIDIA H200"; empty where no arithmetic was done
    dataset: str | None = None  # what the network was trained and tested on
    budget: str | None = None  # "10ep"
    recipe: str | None = None  # how the network was trained: "default: SGD 0.1, weight decay 0.0005, batch 128, cosine"

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
        return self.model, self.probe, self.metric, self.seed, self.round, self.budget

    def to_json(self) -> str:
        return json.dumps(asdict(self), allow_nan=False)

    @staticmethod
    def from_json(line: str) -> Record:
        """The record that `to_json` wrote; fields that a newer version may have added are ignored.

        Raises:
            ValueError: it is no record.
        """
        raw = _parsed(line)
        if not isinstance(raw, dict):
            raise ValueError("it is not a JSON object")
        known = {field.name for field in fields(Record)}
        values: dict[str, Any] = {key: value for key, value in raw.items() if key in known}
        if isinstance(values.get("samples"), list):
            values["samples"] = tuple(values["samples"])
        hints = _record_types()
        for key, value in values.items():
            if not fits(value, hints[key]):
                raise ValueError(f"{key} cannot be {json.dumps(value)[:60]}")
        try:
            return Record(**values)
        except TypeError as error:  # a field without a default is missing
            raise ValueError(str(error).partition(" ")[2]) from None


def file_stem(model: str) -> str:
    """Any name of a network as a plain file name: "timm:x/y" becomes timm%3Ax%2Fy."""
    name = quote(model, safe="")
    if len(name) > 150:  # file systems end at 255
        name = f"{name[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name


class RunError(Exception):
    """A run folder that cannot be created, read or written; the message says what to do."""


class Run:
    """One folder of results: opened for reading, or created and then appended to by one writer."""

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.folder = folder
        self.header = header
        self.restored = False  # whether the folder was removed while it was written to, and made again
        self._claim: io.FileIO | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def curves(self) -> Path:
        return self.folder / "curves"

    def tuned(self) -> dict[str, Any]:
        """What --tune found so far: an entry of recipes.json for each family.

        Raises:
            RunError: the file cannot be read.
        """
        path = self.folder / "recipes.json"
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))["recipes"]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} cannot be read: {error}; remove it, and --retry-failed tunes again") from error
        if not isinstance(entries, dict):
            raise RunError(f"{path} does not hold recipes by family; remove it")
        return entries

    def keep_tuned(self, family: str, entry: Mapping[str, Any]) -> None:
        """Add a family's entry to recipes.json."""
        entries = {**self.tuned(), family: entry}
        text = json.dumps({"recipes": entries}, indent=2, allow_nan=False)
        _write_atomically(self.folder / "recipes.json", text + "\n")

    def networks(self) -> dict[str, Any]:
        """Structures by network: what networks.json holds; empty where there is none.

        Raises:
            RunError: it is damaged.
        """
        path = self.folder / "networks.json"
        try:
            entries = _parsed(path.read_bytes())["networks"]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} cannot be read: {error}") from error
        if not isinstance(entries, dict):
            raise RunError(f"{path} does not hold networks by name")
        return entries

    def keep_networks(self, entries: Mapping[str, Any]) -> None:
        """Replace networks.json."""
        text = json.dumps({"networks": entries}, separators=(",", ":"), allow_nan=False)
        _write_atomically(self.folder / "networks.json", text + "\n")

    def samples_path(self, track: str, dataset: str) -> Path:
        """Where one image of each class of a data set is kept, as the networks of a track get it."""
        return self.folder / f"samples-{file_stem(track)}-{file_stem(dataset)}.png"

    def confusion_path(self, model: str, kind: str) -> Path:
        """Where it is kept what a trained network took the test images for; `kind` as of its curve."""
        return self.folder / "confusions" / f"{file_stem(model)}-{kind}.parquet"

    def layers_path(self, model: str) -> Path:
        """Where a row for each call of a module is kept."""
        return self.folder / "layers" / f"{file_stem(model)}.parquet"

    def curve_path(self, model: str, kind: str) -> Path:
        """Where a curve of a kind, such as "seed0", is kept."""
        return self.curves / f"{file_stem(model)}-{kind}.parquet"

    def events_path(self, model: str, kind: str) -> Path:
        """The folder of the same curve as TensorBoard events."""
        return self.folder / "tensorboard" / f"{file_stem(model)}-{kind}"

    @staticmethod
    def create(results: Path, name: str, header: dict[str, Any]) -> Run:
        """Make the folder and its run.json.

        Raises:
            RunError: the name is not a plain file name, or the folder cannot be written.
        """
        run = Run(results / checked_name(name), header)
        with run.claimed():
            run.rewrite_header(header)
        return run

    @staticmethod
    def open(results: Path, name: str) -> Run:
        """Read an existing run.

        Raises:
            RunError: there is no such run, or its run.json is damaged.
        """
        folder = results / checked_name(name)
        try:
            header = _parsed((folder / "run.json").read_bytes())
        except FileNotFoundError:
            known = ", ".join(run_names(results)[:5]) or "none yet"
            raise RunError(f"there is no run {name!r} in {results}; newest runs: {known}") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{folder / 'run.json'} cannot be read: {error}") from error
        if not isinstance(header, dict):
            raise RunError(f"{folder / 'run.json'} is not a JSON object")
        return Run(folder, header)

    def rewrite_header(self, header: dict[str, Any]) -> None:
        """Replace run.json, atomically. Only who has claimed the run may.

        Raises:
            RunError: it cannot be written.
        """
        try:
            _write_atomically(self.folder / "run.json", _header_text(header))
        except OSError as error:
            raise RunError(f"cannot write {self.folder}: {error.strerror}; choose another --results-dir") from error
        self.header = header

    def records(self) -> list[Record]:
        """Every number of the run: the newest row of each key, in the order first written."""
        newest: dict[RecordKey, Record] = {}
        for record in _read_lines(self.folder / "records.jsonl"):
            newest[record.key] = record
        return list(newest.values())

    @contextmanager
    def claimed(self) -> Iterator[io.FileIO]:
        """Make the folder and let no other process write to the run meanwhile; gives its records for appending.

        Raises:
            RunError: another process is writing to the same run, or the folder cannot be written.
        """
        if self._claim is not None:
            yield self._claim
            return
        path = self.folder / "records.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a+b", buffering=0)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}; choose another --results-dir") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunError(f"another process is writing to run {self.name!r}; choose another --run") from None
            self._claim = file
            try:
                yield file
            finally:
                self._claim = None

    @contextmanager
    def writer(self) -> Iterator[RecordWriter]:
        """The one writer of this run.

        Raises:
            RunError: as `claimed`.
        """
        with self.claimed() as file:
            try:
                _end_torn_line(file)
            except OSError as error:
                raise RunError(f"cannot write {self.folder}: {error.strerror}") from error
            writer = RecordWriter(self, file)
            yield writer
            writer.restore_if_removed()


class RecordWriter:
    """Appends to records.jsonl. Every call leaves a file of whole lines, whatever happens in it."""

    def __init__(self, run: Run, file: io.FileIO) -> None:
        self._run = run
        self._file = file

    def append(self, records: Iterable[Record]) -> None:
        """Write whole lines and return only when they are on the disk.

        Raises:
            OSError: they cannot be written; none of them is then in the file.
        """
        self.restore_if_removed()
        _write_all(self._file, "".join(record.to_json() + "\n" for record in records).encode())

    def restore_if_removed(self) -> None:
        """Make a folder that was removed anew, with every row: the open file still holds them all.

        Raises:
            OSError: that is not possible.
            RunError: another run has taken the place.
        """
        path = self._run.folder / "records.jsonl"
        try:
            if os.path.samestat(path.stat(), os.fstat(self._file.fileno())):
                return
            raise RunError(f"{path} was replaced while the run was writing to it; nothing is added to it any more")
        except FileNotFoundError:
            pass
        self._file.seek(0)
        rows = self._file.readall()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x+b", buffering=0) as anew:
            fcntl.flock(anew, fcntl.LOCK_EX)
            _write_all(anew, rows)
            os.dup2(anew.fileno(), self._file.fileno(), inheritable=False)  # the claim goes on with it
        _write_atomically(path.with_name("run.json"), _header_text(self._run.header))
        self._run.restored = True


def run_names(results: Path) -> list[str]:
    """Names of the runs in a results folder, the one that was last started or resumed first.

    That order is counted, not told by the clock, which may be set back.
    """
    found = [folder for folder in results.glob("*") if _NAME.fullmatch(folder.name) and (folder / "run.json").exists()]
    return [folder.name for folder in sorted(found, key=_last_start, reverse=True)]


def next_start(results: Path) -> int:
    """What a run that starts or goes on now has as `start` in its header: more than any other."""
    return 1 + max((_last_start(results / name)[0] for name in run_names(results)), default=0)


def unused_name(results: Path, wish: str) -> str:
    """`wish`, or with a number if there is such a run, as where the clock was set back."""
    names = set(run_names(results))
    tries = (f"{wish}-{number}" if number > 1 else wish for number in range(1, len(names) + 2))
    return next(name for name in tries if name not in names)


def _last_start(folder: Path) -> tuple[int, float]:
    """For sorting: the count of starts, and the time for runs that have none. A damaged header comes last."""
    with suppress(OSError, ValueError):
        header, time = _parsed((folder / "run.json").read_bytes()), (folder / "run.json").stat().st_mtime
        count = header.get("start", 0) if isinstance(header, dict) else 0
        return count if isinstance(count, int) else 0, time
    return -1, 0.0


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def checked_name(name: str) -> str:
    """`name` if it can be the name of a run's folder and of nothing else.

    Raises:
        RunError: it could leave the results folder or would not work on every file system.
    """
    if not _NAME.fullmatch(name):
        raise RunError(f"run name {name!r}: use letters, digits, '.', '_' and '-', starting with a letter or digit")
    return name


def _read_lines(path: Path) -> Iterator[Record]:
    """
    Raises:
        RunError: the file cannot be read, or a line other than a torn one is no record.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    torn = len(lines) - 1  # what follows the last newline: empty, or a line that a crash cut short
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            yield Record.from_json(line.decode())
        except ValueError as error:
            if number != torn and not line.endswith(_TORN):
                reason = " ".join(str(error).split())
                raise RunError(f"{path} line {number + 1} is damaged: {reason}; remove that line") from error


_TORN = b"\x18"  # CANCEL: marks a line that a crash cut short, so that later lines stay readable


def _end_torn_line(file: io.FileIO) -> None:
    """Close a last line that has no newline, so that the next record starts on a line of its own."""
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        _write_all(file, _TORN + b"\n")


def _write_all(file: io.FileIO, data: bytes) -> None:
    """Append to the disk, all or nothing."""
    end = file.seek(0, os.SEEK_END)
    try:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            file.truncate(end)
        raise


def _header_text(header: dict[str, Any]) -> str:
    return json.dumps(header, indent=2, allow_nan=False) + "\n"


def _parsed(text: str | bytes) -> Any:
    """
    Raises:
        ValueError: it is not JSON, holds NaN or an infinity, or is nested beyond reason.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


@cache
def _record_types() -> dict[str, Any]:
    return get_type_hints(Record)


def fits(value: object, hint: Any) -> bool:
    """Whether a value read from JSON may be what a field is declared to be; a number is a finite one."""
    if isinstance(hint, UnionType):
        return any(fits(value, each) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(fits(item, get_args(hint)[0]) for item in value)
    if hint is float:
        try:
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        except OverflowError:
            return False
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
