"""The folder with the records of a run and everything else that it found.

results/<run>/run.json       what was asked, where, with which data (written once, atomically)
results/<run>/records.jsonl  one record a line, appended and fsynced
results/<run>/.lock         held by the process that writes to the run
results/<run>/checkpoints/   from which trainings go on that were interrupted
results/<run>/tensorboard/   training curves as TensorBoard events, if asked for
results/<run>/curves/        curves as Parquet: one of training per (model, seed, budget), others by their probe
results/<run>/confusions/    what each trained network took the test images for, as Parquet: label, predicted, count
results/<run>/layers/        what each layer of each network costs, as Parquet
results/<run>/networks.json  structure of one network of each family
results/<run>/samples-*.png  an image of each class of each data set
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from filelock import FileLock, Timeout

from bench.config import Budget, Config, Execution, MemorySize, RequestError
from bench.metrics import probe_named
from bench.records.record import Record, RecordKey

FORMAT = 2  # of run.json
TORN = b"\x18"  # CANCEL: marks a line that a crash cut short, so that later lines stay readable
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Model:
    """A network as the run knew it, described so that a report needs neither torch nor the registry of another day."""

    name: str
    family: str = "unlisted"
    year: int | None = None
    paper: str = ""
    track: str = ""
    input_size: tuple[int, ...] = ()  # (channels, height, width)
    num_classes: int | None = None
    differences: tuple[str, ...] = ()  # "Differs from the paper: ..."
    own: bool = False  # the user's, not of the registry
    published_top1: float | None = None  # of a network from elsewhere whose source says it
    published_source: str = ""
    listed: bool = True  # False where only records name it
    kept_as: str = ""  # its name in the run's files, where this one says more

    @property
    def file_name(self) -> str:
        return self.kept_as or self.name


@dataclass(frozen=True)
class Session:
    """One start of the run: the state of the machine before its first task and after its last."""

    started: str = ""  # ISO times
    before: Mapping[str, Any] = field(default_factory=dict)
    ended: str = ""  # empty: it was cut short
    after: Mapping[str, Any] = field(default_factory=dict)
    predicted: Mapping[str, float] = field(default_factory=dict)  # seconds by phase, as said before they began
    taken: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Forced:
    """What --force let pass when the run was resumed."""

    at: str  # ISO time
    differences: tuple[str, ...]  # "train_batch_size 20 (now 10)"


@dataclass(frozen=True)
class RunHeader:
    """What run.json says: what was asked, where, with which images and of which networks; an old one lacks some."""

    version: int = FORMAT
    name: str = ""
    created: str = ""  # ISO time
    start: int = 0  # its place among the starts of all runs
    command: tuple[str, ...] = ()
    request: Mapping[str, Any] = field(default_factory=dict)  # the flags as typed
    config: Config | None = None
    weights: str | None = None  # that training started from: file and SHA-256
    experiment: Mapping[str, Any] | None = None  # the documented one that was repeated
    recipes: Mapping[str, Any] = field(default_factory=dict)  # by family, where it is not the default
    environment: Mapping[str, Any] = field(default_factory=dict)
    image_sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by track
    models: tuple[Model, ...] = ()  # in registry order
    sessions: tuple[Session, ...] = ()
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by device: what it can do
    forced: tuple[Forced, ...] = ()

    @property
    def device(self) -> str:
        """The hardware, in words; empty where it is not known."""
        return str(self.environment.get("device") or "")

    @property
    def date(self) -> str:
        """The day of the run, "2026-01-31", or "undated"."""
        match = re.match(r"\d{4}-\d\d-\d\d", self.created)
        return match[0] if match else "undated"

    @property
    def budget(self) -> str:
        """The first one; empty where it is not known."""
        return str(self.config.budget) if self.config else ""

    @property
    def other_budgets(self) -> tuple[str, ...]:
        """Under which the same networks were trained too."""
        return tuple(map(str, self.config.other_budgets)) if self.config else ()

    @property
    def execution(self) -> Execution:
        return self.config.execution if self.config else Execution()

    def settings(self) -> dict[str, Any]:
        """What was asked, by name, as far as two runs are compared by it."""
        return {**(self.config.settings() if self.config else {}), "weights": self.weights}

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @staticmethod
    def from_json(text: bytes) -> RunHeader:
        """What `to_json` wrote, or an older version of it; fields that a newer version may have added are ignored.

        Raises:
            ValueError: it is no such thing.
        """
        try:
            return header_of(msgspec.json.decode(text))
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


def header_of(content: object) -> RunHeader:
    """A header from the JSON object that run.json holds.

    Raises:
        ValueError: a part of it cannot be; the message says where.
    """
    if isinstance(content, dict) and "config" not in content:
        content = _of_version_1(content)
    return msgspec.convert(content, RunHeader)


def _of_version_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """Settings had their place beside everything else, budgets as words; sessions were called conditions.

    Raises:
        ValueError: a budget or a memory size is none.
    """
    upgraded = {**content, "version": FORMAT, "sessions": content.get("conditions", ())}
    if "budget" not in content:
        return upgraded
    unsaid = {"dataset": "", "measure_seconds": 0.0}
    said = {each.name: content[each.name] for each in fields(Config) if each.name in content}
    execution = {each.name: content[each.name] for each in fields(Execution) if each.name in content}
    try:
        said["budget"] = asdict(Budget.parse(str(content["budget"])))
        said["other_budgets"] = [asdict(Budget.parse(str(word))) for word in content.get("other_budgets") or ()]
        said["fit"] = asdict(MemorySize.parse(str(content["fit"]))) if content.get("fit") else None
    except (RequestError, TypeError) as error:
        raise ValueError(str(error)) from None
    return {**upgraded, "config": {**unsaid, **said, "execution": execution}}


class RunError(Exception):
    """A run folder that cannot be created, read or written; the message says what to do."""


class Run:
    """One folder of results: opened for reading, or created and then appended to by one writer."""

    def __init__(self, folder: Path, header: RunHeader) -> None:
        self.folder = folder
        self.header = header
        self._file: io.FileIO | None = None  # of the records, while it is open for writing

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def curves(self) -> Path:
        return self.folder / "curves"

    def networks(self) -> dict[str, Any]:
        """Structures by network: what networks.json holds; empty where there is none.

        Raises:
            RunError: it is damaged.
        """
        path = self.folder / "networks.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Any]])["networks"]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, RecursionError) as error:
            raise RunError(f"{path} cannot be read: {error}") from error

    def keep_networks(self, entries: Mapping[str, Any]) -> None:
        """Replace networks.json."""
        text = json.dumps({"networks": entries}, separators=(",", ":"), allow_nan=False)
        write_atomically(self.folder / "networks.json", text + "\n")

    def sheet_path(self, track: str, dataset: str) -> Path:
        """The file with one image of each class of a data set, as networks of a track see it."""
        return self.folder / f"samples-{file_stem(track)}-{file_stem(dataset)}.png"

    def table_path(self, folder: str, model: str, kind: str = "") -> Path:
        """A table as Parquet: of "curves" and "confusions" one of each kind, such as "seed0"; of "layers" one."""
        return self.folder / folder / f"{file_stem(model)}{f'-{kind}' if kind else ''}.parquet"

    def events_path(self, model: str, kind: str) -> Path:
        """The folder with the same curve as TensorBoard events."""
        return self.folder / "tensorboard" / f"{file_stem(model)}-{kind}"

    @staticmethod
    def open(results: Path, name: str) -> Run:
        """Read an existing run.

        Raises:
            RunError: there is no such run, or its run.json is damaged.
        """
        folder = results / checked_name(name)
        try:
            return Run(folder, RunHeader.from_json((folder / "run.json").read_bytes()))
        except FileNotFoundError:
            known = ", ".join(run_names(results)[:5]) or "none yet"
            raise RunError(f"there is no run {name!r} in {results}; newest runs: {known}") from None
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise RunError(f"{folder / 'run.json'} cannot be read: {reason}") from error

    def rewrite_header(self, header: RunHeader) -> None:
        """Replace run.json, atomically; only within `writer`.

        Raises:
            RunError: it cannot be written.
        """
        try:
            write_atomically(self.folder / "run.json", header.to_json())
        except OSError as error:
            raise RunError(f"cannot write {self.folder}: {error.strerror}; choose another --results-dir") from error
        self.header = header

    def records(self) -> list[Record]:
        """Every number of the run: the newest row of each key, in the order first written.

        Runs were of one device before rows named their hardware: a measured row without it has the device of its run.
        """
        device = self.header.device
        newest: dict[RecordKey, Record] = {}
        for record in _read_lines(self.folder / "records.jsonl"):
            unnamed = record.value is not None and not record.hardware and not probe_named(record.probe).exact
            newest[record.key] = replace(record, hardware=device) if unnamed and device else record
        return list(newest.values())

    @contextmanager
    def writer(self) -> Iterator[Run]:
        """Make the folder and keep other processes from writing to the run meanwhile; may be entered again within.

        Raises:
            RunError: another process is writing to the same run, the folder cannot be written, or the file of its
                records was removed or replaced meanwhile.
        """
        path = self.folder / "records.jsonl"
        with ExitStack() as held:
            try:
                if self._file is None:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    # Not on the records themselves: on Windows nobody else could then read them.
                    held.enter_context(FileLock(self.folder / ".lock", timeout=0))
                    self._file = held.enter_context(path.open("a+b", buffering=0))
                    held.callback(setattr, self, "_file", None)
                end_torn_line(self._file)
            except Timeout:
                raise RunError(f"another process is writing to run {self.name!r}; choose another --run") from None
            except OSError as error:
                raise RunError(f"cannot write {path}: {error.strerror}; choose another --results-dir") from error
            yield self
            self._require_place()

    def append(self, records: Iterable[Record]) -> None:
        """Write whole lines and return only when they are on the disk; only within `writer`.

        Raises:
            OSError: they cannot be written; none of them is then in the file.
            RunError: the file was removed or replaced meanwhile.
        """
        self._require_place()
        assert self._file is not None
        append_whole(self._file, "".join(record.to_json() + "\n" for record in records).encode())

    def _require_place(self) -> None:
        """Check that what is written ends up where it is looked for."""
        path = self.folder / "records.jsonl"
        with suppress(FileNotFoundError):
            if self._file is not None and os.path.samestat(path.stat(), os.fstat(self._file.fileno())):
                return
        raise RunError(f"{path} was removed or replaced while the run was writing to it; start the run again")


def find_run(name: str | None, results: Path, made_by: str = "all") -> Run:
    """A run by its name, or by the path of its folder; None: the one that was last started or resumed.

    `made_by` is the command to name where there is none yet.

    Raises:
        RunError: there is no such run, or its run.json is damaged.
    """
    if name is None:
        name = next(iter(run_names(results)), None)
    if name is None:
        raise RunError(f"there is no run in {results}; `python -m bench {made_by}` makes one")
    path = Path(name)
    if path.name in ("run.json", "records.jsonl"):
        path = path.parent
    if name and (path / "run.json").is_file():
        path = path.resolve()
        return Run.open(path.parent, path.name)
    if name and not (results / name / "run.json").exists() and (path.is_dir() or len(path.parts) > 1):
        raise RunError(f"{name} is not the folder of a run: it has no run.json")
    return Run.open(results, name)


def run_names(results: Path) -> list[str]:
    """Names of the runs in a results folder, the one that was last started or resumed first.

    The order comes from a count of starts, as a clock may be set back.
    """
    found = [folder for folder in results.glob("*") if _NAME.fullmatch(folder.name) and (folder / "run.json").exists()]
    return [folder.name for folder in sorted(found, key=_last_start, reverse=True)]


def next_start(results: Path) -> int:
    """The `start` of a run that starts or is resumed now: one more than that of any other run."""
    return 1 + max((_last_start(results / name)[0] for name in run_names(results)), default=0)


def unused_name(results: Path, wish: str) -> str:
    """`wish`, with a number if a run has that name already (after the clock was set back, say)."""
    names = set(run_names(results))
    tries = (f"{wish}-{number}" if number > 1 else wish for number in range(1, len(names) + 2))
    return next(name for name in tries if name not in names)


def _last_start(folder: Path) -> tuple[int, float]:
    """For sorting: the count of starts, and the time for runs that have none. A damaged header comes last."""
    with suppress(OSError, ValueError):
        header = RunHeader.from_json((folder / "run.json").read_bytes())
        return header.start, (folder / "run.json").stat().st_mtime
    return -1, 0.0


def checked_name(name: str) -> str:
    """Check that `name` can be the name of a folder, and nothing else; returns it.

    Raises:
        RunError: it could leave the results folder or would not work on every file system.
    """
    if not _NAME.fullmatch(name):
        raise RunError(f"run name {name!r}: use letters, digits, '.', '_' and '-', starting with a letter or digit")
    return name


def _read_lines(path: Path) -> Iterator[Record]:
    """Read the records of a file; there are none without it.

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
            yield Record.from_json(line)
        except ValueError as error:
            if number != torn and not line.endswith(TORN):
                reason = " ".join(str(error).split())
                raise RunError(f"{path} line {number + 1} is damaged: {reason}; remove that line") from error


def file_stem(model: str) -> str:
    """A network's name as a plain file name: "timm:x/y" becomes timm%3Ax%2Fy."""
    name = quote(model, safe="")
    if len(name) > 150:  # file systems end at 255
        name = f"{name[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name


def require_writable(flag: str, folder: Path) -> None:
    """Make the folder that a flag names, if it is not there.

    Raises:
        RequestError: nothing can be written to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RequestError(f"cannot write to {folder}: {error.strerror}; choose another {flag}") from None


def write_atomically(path: Path, *parts: str | bytes | memoryview) -> None:
    """Replace a file, or leave it as it was. Only one process at a time may.

    Raises:
        OSError: it cannot be written.
    """
    building = path.with_name(f"{path.name}.tmp")
    try:
        with building.open("wb") as file:
            for part in parts:
                file.write(part.encode() if isinstance(part, str) else part)
            file.flush()
            os.fsync(file.fileno())
        building.replace(path)
    except BaseException:
        with suppress(OSError):
            building.unlink(missing_ok=True)
        raise


def append_whole(file: io.FileIO, data: bytes) -> None:
    """Append and wait until it is on the disk, all of it or nothing."""
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


def end_torn_line(file: io.FileIO) -> None:
    """Close a last line that has no newline, so that the next record starts on a line of its own."""
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        append_whole(file, TORN + b"\n")
