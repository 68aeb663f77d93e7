"""run.json: what was asked, where, with which images and of which networks, as one type that is written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import msgspec

from bench.config import Budget, Config, Execution, MemorySize, RequestError

FORMAT = 2  # of run.json


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
    own: bool = False  # brought by whoever started the run: not of the registry
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
    """The content of run.json; a run of an older version lacks some of it."""

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
    unsaid = {"preset": "", "probes": (), "seeds": 1, "dataset": "", "batch_size": {}, "train_batch_size": None}
    unsaid |= {"test_images": None, "measure_seconds": 0.0, "task_timeout_s": None}
    said = {each.name: content[each.name] for each in fields(Config) if each.name in content}
    execution = {each.name: content[each.name] for each in fields(Execution) if each.name in content}
    try:
        said["budget"] = asdict(Budget.parse(str(content["budget"])))
        said["other_budgets"] = [asdict(Budget.parse(str(word))) for word in content.get("other_budgets") or ()]
        said["fit"] = asdict(MemorySize.parse(str(content["fit"]))) if content.get("fit") else None
    except (RequestError, TypeError) as error:
        raise ValueError(str(error)) from None
    return {**upgraded, "config": {**unsaid, **said, "execution": execution}}
