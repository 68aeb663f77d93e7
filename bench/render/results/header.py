"""What run.json says, with every gap filled: the conditions under which a run's numbers were taken."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.config import Execution
from bench.records.run_folder import Run


@dataclass(frozen=True)
class Model:
    """A network as the run knew it; `listed` is False where only records name it."""

    name: str
    family: str
    year: int | None
    paper: str
    track: str
    input_size: tuple[int, ...]  # (channels, height, width)
    num_classes: int | None
    differences: tuple[str, ...]  # "Differs from the paper: ..."
    listed: bool = True
    own: bool = False  # brought by whoever started the run: not of the registry
    kept_as: str = ""  # its name in the run's files, where this one says more

    @property
    def file_name(self) -> str:
        return self.kept_as or self.name


@dataclass(frozen=True)
class Limits:
    """What one device can do at the run's precision: as measured in the run, and as its vendor states it."""

    device: str  # "cpu", "cuda:0"
    precision: str
    peak_flops_per_s: float | None  # of the best large matrix product or convolution
    bandwidth_bytes_per_s: float | None  # of the best large copy, bytes read and written
    vendor_flops_per_s: float | None  # dense
    vendor_source: str
    reason: str  # why it was not measured


@dataclass(frozen=True)
class Session:
    """One start of the run: the state of the machine before its first task and after its last."""

    started: str  # ISO times
    ended: str  # empty: it was cut short
    before: Mapping[str, str]
    after: Mapping[str, str]


@dataclass(frozen=True)
class Header:
    """run.json as text and numbers that are safe to format; anything may be empty, nothing is missing."""

    name: str
    created: str  # ISO time
    command: str
    preset: str
    budget: str
    other_budgets: tuple[str, ...]  # under which the same networks were trained too
    seeds: int | None
    precision: str
    memory_format: str
    compile: bool
    cuda_graphs: bool | None  # None: in training, where the network allows it
    environment: Mapping[str, str]
    limits: tuple[Limits, ...]  # one per device
    sessions: tuple[Session, ...]
    forced: tuple[str, ...]  # "budget 10ep (now 20ep)": differences that --force let pass when the run was resumed
    sources: Mapping[str, str]  # data set name -> one sentence: where its images came from
    models: tuple[Model, ...]  # in registry order

    @property
    def execution(self) -> Execution:
        return Execution(self.precision, self.memory_format, self.compile, self.cuda_graphs)  # type: ignore[arg-type]

    @property
    def device(self) -> str:
        return self.environment.get("device", "") or "unknown device"

    @property
    def date(self) -> str:
        """The day of the run, "2026-01-31", or "undated"."""
        match = re.match(r"\d{4}-\d\d-\d\d", self.created)
        return match[0] if match else "undated"


def read_header(run: Run) -> Header:
    """The header of a run; a field that is missing or of the wrong type becomes empty."""
    raw = run.header
    return Header(
        name=run.name,
        created=_text(raw.get("created")),
        command=" ".join(_text(word) for word in _items(raw.get("command"))),
        preset=_text(raw.get("preset")),
        budget=_text(raw.get("budget")),
        other_budgets=tuple(map(_text, _items(raw.get("other_budgets")))),
        seeds=_whole(raw.get("seeds")),
        precision=_text(raw.get("precision")),
        memory_format=_text(raw.get("memory_format")),
        compile=raw.get("compile") is True,
        cuda_graphs=raw.get("cuda_graphs", False) if isinstance(raw.get("cuda_graphs", False), bool) else None,
        environment=_facts(raw.get("environment")),
        limits=tuple(_limits(str(name), _pairs(entry)) for name, entry in _pairs(raw.get("limits")).items()),
        sessions=tuple(_session(_pairs(entry)) for entry in _items(raw.get("conditions"))),
        forced=tuple(
            _text(difference)
            for entry in map(_pairs, _items(raw.get("forced")))
            for difference in _items(entry.get("differences"))
        ),
        sources={
            _text(image_set.get("name")): _text(image_set.get("source"))
            for image_set in map(_pairs, _pairs(raw.get("image_sets")).values())
        },
        models=tuple(_model(_pairs(entry)) for entry in _items(raw.get("models"))),
    )


def unlisted(name: str) -> Model:
    """A network that has records but no entry in run.json: its track is read off its name."""
    track = next((track for track in ("cifar", "mnist") if name.endswith(f"_{track}")), "imagenet")
    return Model(name, "unlisted", None, "", track, (), None, (), listed=False)


def _limits(device: str, entry: Mapping[str, Any]) -> Limits:
    return Limits(
        device=device,
        precision=_text(entry.get("precision")),
        peak_flops_per_s=_positive(entry.get("peak_flops_per_s")),
        bandwidth_bytes_per_s=_positive(entry.get("bandwidth_bytes_per_s")),
        vendor_flops_per_s=_positive(entry.get("vendor_flops_per_s")),
        vendor_source=_text(entry.get("vendor_source")),
        reason=_text(entry.get("reason")),
    )


def _session(entry: Mapping[str, Any]) -> Session:
    return Session(
        started=_text(entry.get("started")),
        ended=_text(entry.get("ended")),
        before=_facts(entry.get("before")),
        after=_facts(entry.get("after")),
    )


def _facts(value: object) -> dict[str, str]:
    """Facts as text: a list as its items, a group of facts as one fact each."""
    facts: dict[str, str] = {}
    for key, fact in _pairs(value).items():
        if isinstance(fact, dict):
            facts |= {f"{key} {inner}": text for inner, text in _facts(fact).items()}
        else:
            facts[str(key)] = ", ".join(map(_text, fact)) if isinstance(fact, list) else _text(fact)
    return facts


def _model(entry: Mapping[str, Any]) -> Model:
    name = _text(entry.get("name"))
    return Model(
        name=name,
        family=_text(entry.get("family")) or "unlisted",
        year=_whole(entry.get("year")),
        paper=_text(entry.get("paper")),
        track=_text(entry.get("track")) or unlisted(name).track,
        input_size=tuple(size for size in map(_whole, _items(entry.get("input_size"))) if size is not None),
        num_classes=_whole(entry.get("num_classes")),
        differences=tuple(map(_text, _items(entry.get("differences")))),
        own=entry.get("own") is True or ":" in name,
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _positive(value: object) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    return float(value) if number else None  # type: ignore[arg-type]


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _pairs(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}
