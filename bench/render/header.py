"""What run.json says, with every gap filled: the conditions under which a run's numbers were taken."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.record import Run


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


@dataclass(frozen=True)
class Header:
    """run.json as text and numbers that are safe to format; anything may be empty, nothing is missing."""

    name: str
    created: str  # ISO time
    command: str
    preset: str
    budget: str
    seeds: int | None
    precision: str
    environment: Mapping[str, str]
    sources: Mapping[str, str]  # data set name -> one sentence: where its images came from
    models: tuple[Model, ...]  # in registry order

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
        seeds=_whole(raw.get("seeds")),
        precision=_text(raw.get("precision")),
        environment={str(key): _text(value) for key, value in _pairs(raw.get("environment")).items()},
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
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _pairs(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}
