"""`compare`: what changed between two stored runs, as a table, Markdown or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from bench.cli import GATE_WORSE, OK, say
from bench.cli.gate import MOST_NAMED, Gate
from bench.config import RequestError
from bench.quantity import listing
from bench.records.run_folder import find_run


@dataclass(frozen=True, kw_only=True)
class Compare(Gate):
    """Say what changed between two stored runs: per metric and network the ratio, its interval and a verdict."""

    base: tyro.conf.Positional[str]
    """Name of a run, or a path to its folder."""
    new: tyro.conf.Positional[str]
    """The run to compare with it."""
    all: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also show the rows that are the same."""
    results_dir: Path = Path("results")
    """Where runs are."""


def run(request: Compare) -> int:
    """Do it; returns the exit status.

    Raises:
        RequestError, RunError: a percentage or a run is wrong.
    """
    from bench.regression import percent
    from bench.regression.compare import Change, Incomparable, compare
    from bench.render.page.side_by_side import as_markdown, as_text

    margin, fail_on = request.shares()
    base, new = (find_run(name, request.results_dir) for name in (request.base, request.new))
    if base.folder.resolve() == new.folder.resolve():
        raise RequestError(f"{request.base} and {request.new} are the same run")
    found = compare(base, new, margin)
    request.write_markdown(as_markdown(found, margin, request.all))
    if request.json:
        print(json.dumps(found.as_json(), indent=2))
    elif request.markdown != "-":
        print(as_text(found, margin, request.all))
    if fail_on is None:
        return OK

    def named(rows: Sequence[Change | Incomparable]) -> list[str]:
        return [
            f"{row.model} {row.metric} ({percent(math.log(row.ratio)) if isinstance(row, Change) else row.reason})"
            for row in rows
        ]

    worse, together = found.regressions(fail_on)
    if together:
        say(f"worse in all networks together, rather the machine than the code: {listing(named(together), MOST_NAMED)}")
    status = request.status(named(worse), named(found.unclear(fail_on)))
    return GATE_WORSE if together else status
