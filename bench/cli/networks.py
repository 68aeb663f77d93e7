"""`list`: the registry as a table."""

from __future__ import annotations

import json
from dataclasses import dataclass

import tyro

from bench.cli import OK
from bench.cli.parsing import Track
from bench.config import RequestError
from bench.runner.request import Count, Word


@dataclass(frozen=True)
class List:
    """Show the registry as a table."""

    family: Word = None
    """Only this family, such as ResNet."""
    track: Track = None
    """Only this track."""
    year: Count = None
    """Only networks of this year."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print JSON for machines."""


def run(request: List) -> int:
    """Do it; returns the exit status.

    Raises:
        RequestError: no network matches.
    """
    from bench.models import REGISTRY
    from bench.quantity import quantity
    from bench.render.tables import aligned
    from bench.runner.measure import network_row

    specs = [
        spec
        for spec in REGISTRY.values()
        if (request.family is None or spec.family.casefold() == request.family.casefold())
        and (request.track is None or spec.track == request.track)
        and (request.year is None or spec.year == request.year)
    ]
    if not specs:
        families = dict.fromkeys(f"{spec.family} ({spec.year})" for spec in REGISTRY.values())
        raise RequestError(f"no network matches; families and their years: {', '.join(families)}")
    rows = [network_row(spec) for spec in specs]
    if request.json:
        print(json.dumps(rows, indent=2))
        return OK
    for row in rows:
        row["input_size"] = "x".join(map(str, row["input_size"]))
        row["params"] = f"{row['params']:,}"
        row["macs"] = quantity(row["macs"], "count")
    print(aligned(rows))
    return OK
