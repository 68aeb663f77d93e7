"""`reference`: the accuracies of a run as the table that is shipped with the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from bench.cli import OK
from bench.cli.parsing import write
from bench.runner.request import Word


@dataclass(frozen=True)
class Reference:
    """Write the accuracies of a run as the reference table that is shipped with the package."""

    run: tyro.conf.Positional[str]
    """Name of a run, or a path to its folder: every network of quick, all images, one budget."""
    budget: Word = None
    """Which budget of a run that has several."""
    out: Path | None = None
    """Where the table goes. Default: the package's own file."""
    results_dir: Path = Path("results")
    """Where runs are."""


def run(request: Reference) -> int:
    """Do it; returns the exit status.

    Raises:
        RequestError, RunError: there is no such run, or it cannot be a reference.
    """
    from bench.records.run_folder import find_run
    from bench.render.results.derived import REFERENCE_FILE, reference_table

    out = request.out or REFERENCE_FILE
    table = reference_table(find_run(request.run, request.results_dir), request.budget)
    write("--out", out, table)
    print(f"{table.count(chr(10)) - 1} rows: {out}")
    return OK
