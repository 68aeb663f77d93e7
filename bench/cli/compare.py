"""`compare`: what changed between two stored runs, as a table, Markdown or JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bench.cli import GATE_UNCLEAR, GATE_WORSE, OK
from bench.config import RequestError
from bench.quantity import listing
from bench.records.run_folder import find_run
from bench.regression import MARGIN, parse_share


@dataclass(frozen=True)
class Compare:
    """Say what changed between two stored runs: per metric and network the ratio, its interval and a verdict."""

    base: tyro.conf.Positional[str]
    """Name of a run, or a path to its folder."""
    new: tyro.conf.Positional[str]
    """The run to compare with it."""
    fail_on: Annotated[str | None, tyro.conf.arg(metavar="PERCENT", help_behavior_hint="")] = None
    """Exit with status 3 if a metric got significantly worse by more than this, such as 5%, or failed in NEW only."""
    fail_on_unclear: tyro.conf.FlagCreatePairsOff[bool] = False
    """Exit with status 4 if it is not clear whether a metric got worse by more than --fail-on."""
    margin: str = f"{MARGIN:.0%}"
    """Smaller changes of what is timed or trained count as the same. Counts have no margin."""
    all: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also show the rows that are the same."""
    markdown: Annotated[str | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """Write Markdown for a pull request to this file; - prints it instead of the table."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print JSON for machines."""
    results_dir: Path = Path("results")
    """Where runs are."""


def run(request: Compare) -> int:
    """Do it; returns the exit status.

    Raises:
        RequestError, RunError: a percentage or a run is wrong.
    """
    from bench.regression.compare import compare
    from bench.render.page.comparison import as_markdown, as_text

    margin = parse_share("--margin", request.margin)
    fail_on = parse_share("--fail-on", request.fail_on) if request.fail_on is not None else None
    if request.fail_on_unclear and fail_on is None:
        raise RequestError("--fail-on-unclear: only goes with --fail-on, such as --fail-on 5%")
    base, new = (find_run(name, request.results_dir) for name in (request.base, request.new))
    if base.folder.resolve() == new.folder.resolve():
        raise RequestError(f"{request.base} and {request.new} are the same run")
    found = compare(base, new, margin)
    if request.markdown is not None:
        write_markdown(request.markdown, as_markdown(found, margin, request.all))
    if request.json:
        print(json.dumps(found.as_json(), indent=2))
    elif request.markdown != "-":
        print(as_text(found, margin, request.all))
    if fail_on is None:
        return OK
    regressions = found.regressions(fail_on)
    if regressions:
        names = listing(list(dict.fromkeys(f"{row.model} {row.metric}" for row in regressions)), 10)
        print(f"worse by more than {request.fail_on}, or missing from the new run: {names}", file=sys.stderr)
        moved = {shift.metric for shift in found.shifts} & {row.metric for row in regressions}
        if moved:
            print(f"all networks moved together in {listing(sorted(moved))}: probably the machine", file=sys.stderr)
        return GATE_WORSE
    unclear = [change for change in found.changes if change.worse_by_more_than(fail_on) is None]
    if unclear and request.fail_on_unclear:
        names = listing(list(dict.fromkeys(f"{change.model} {change.metric}" for change in unclear)), 10)
        print(f"not clear whether worse by more than {request.fail_on}: {names}", file=sys.stderr)
        return GATE_UNCLEAR
    return OK


def write_markdown(place: str, text: str) -> None:
    """Write to a file; "-" prints.

    Raises:
        RequestError: the file cannot be written.
    """
    if place == "-":
        print(text)
        return
    try:
        Path(place).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise RequestError(f"--markdown: cannot write {place}: {error.strerror}") from None
