"""A run on several kinds of hardware: what one kind measured never meets what another did, in no mean and in no row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.records.record import Record
from bench.render.results.header import Model


def kept_apart(models: Sequence[Model], records: Sequence[Record]) -> tuple[list[Model], list[Record]]:
    """Where the run was measured on several kinds, each network once for each kind that measured it, named so.

    Rows of no kind, counts and what failed, belong to all of them. A run on one kind stays as it is.
    """
    if len({record.hardware for record in records if record.hardware}) < 2:
        return list(models), list(records)
    apart: tuple[list[Model], list[Record]] = ([], [])
    for model in models:
        own = [record for record in records if record.model == model.name]
        for kind in dict.fromkeys(record.hardware for record in own if record.hardware) or [""]:
            name = f"{model.name} on {kind}" if kind else model.name
            apart[0].append(replace(model, name=name, kept_as=model.name))
            apart[1].extend(replace(record, model=name) for record in own if record.hardware in ("", kind))
    return apart
