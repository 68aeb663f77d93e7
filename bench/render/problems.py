"""What a reader must know besides the numbers: rows without a value and why, and remarks on rows with one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.record import Record
from bench.render.table import NOT_RUN, Results

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
    found = _grouped(record for record in results.records if record.status != "ok")
    recorded = {record.model for record in results.records}
    waiting = tuple(model.name for model in results.models if model.name not in recorded)
    if waiting:
        found.append(Remark(NOT_RUN, "The run has no record of these networks yet.", waiting, ()))
    if unreadable_curves:
        reason = "These files under curves/ are damaged: their training curves are not drawn."
        found.append(Remark("unreadable", reason, tuple(unreadable_curves), ("accuracy",)))
    return sorted(found, key=lambda remark: _ORDER.index(remark.status))


def remarks(results: Results) -> list[Remark]:
    """The notes of rows that have a value, grouped."""
    return _grouped(record for record in results.records if record.status == "ok" and record.note)


def _grouped(records: Iterable[Record]) -> list[Remark]:
    groups: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}
    for record in records:
        models, probes = groups.setdefault((record.status, record.note), ({}, {}))
        models[record.model] = None
        probes[record.probe] = None
    return [
        Remark(status, note or "no reason recorded", tuple(models), tuple(probes))
        for (status, note), (models, probes) in groups.items()
    ]
