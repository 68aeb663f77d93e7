"""What a reader must know besides the numbers: rows without a value and why, and remarks on rows with one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.records.record import Record
from bench.render.results import NOT_RUN, Results

_ORDER = ("failed", "timeout", "oom", "unreadable", NOT_RUN, "skipped")


@dataclass(frozen=True)
class Remark:
    """One reason and everything that it applies to."""

    status: str
    reason: str
    models: tuple[str, ...]
    probes: tuple[str, ...]


def problems(results: Results, unreadable_curves: Sequence[str] = ()) -> list[Remark]:
    """Every row without a value, grouped by status and reason; failures before what was skipped."""
    found = _grouped((record for record in results.records if record.status != "ok"), results.header.other_budgets)
    recorded = {record.model for record in results.records}
    waiting = tuple(model.name for model in results.models if model.name not in recorded)
    if waiting:
        found.append(Remark(NOT_RUN, "The run has not measured these networks yet.", waiting, ()))
    if unreadable_curves:
        reason = "These files of the run are damaged and left out."
        found.append(Remark("unreadable", reason, tuple(unreadable_curves), ("accuracy",)))
    return sorted(found, key=lambda remark: _ORDER.index(remark.status))


def remarks(results: Results) -> dict[str, list[Remark]]:
    """The notes of rows that have a value, by probe.

    Rounds and metrics of one network whose notes differ in nothing but their numbers are one remark: "the device works
    31 to 34% of the step".
    """
    merged: dict[tuple[str, str, str], list[str]] = {}  # probe, network, remark without its numbers
    for record in results.records:
        if record.status == "ok" and record.note:
            merged.setdefault((record.probe, record.model, _NUMBER.sub("#", record.note)), []).append(record.note)
    said: dict[str, dict[str, list[str]]] = {}
    for (probe, model, _), notes in merged.items():
        said.setdefault(probe, {}).setdefault(_in_one(notes), []).append(model)
    return {
        probe: [Remark("ok", note, tuple(models), (probe,)) for note, models in by_note.items()]
        for probe, by_note in said.items()
    }


def named(results: Results, models: Sequence[str]) -> str:
    """The networks of a remark, or "all 20" where they are those of the whole run."""
    whole = len(models) > 2 and set(models) >= {model.name for model in results.models}
    return f"all {len(models)}" if whole else ", ".join(models)


_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def _in_one(notes: Sequence[str]) -> str:
    """Notes with the same words as one: where their numbers differ, the least and the largest."""
    words = _NUMBER.split(notes[0])
    columns = zip(*map(_NUMBER.findall, notes), strict=True)
    ranges = [
        " to ".join(dict.fromkeys((ordered[0], ordered[-1])))
        for ordered in (sorted(column, key=lambda number: float(number.replace(",", ""))) for column in columns)
    ]
    return words[0] + "".join(number + word for number, word in zip(ranges, words[1:], strict=True))


def _grouped(records: Iterable[Record], other_budgets: Sequence[str]) -> list[Remark]:
    groups: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}
    for record in records:
        models, probes = groups.setdefault((record.status, record.note), ({}, {}))
        models[record.model] = None
        probes[f"{record.probe} under {record.budget}" if record.budget in other_budgets else record.probe] = None
    return [
        Remark(status, note or "no reason recorded", tuple(models), tuple(probes))
        for (status, note), (models, probes) in groups.items()
    ]
