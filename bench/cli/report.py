"""`report` and `reference`: tables, charts and page of stored runs, and the accuracies that the package ships."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from bench.cli import OK, say, write
from bench.config import RequestError
from bench.runner.flags import Argument, Word


@dataclass(frozen=True)
class Report:
    """Rebuild tables, charts and page of a run from its records; or of several runs, side by side."""

    runs: Annotated[tuple[str, ...], Argument("RUN", positional=True)] = ()
    """Names of runs, or paths to their folders. Several: one report that compares the others with the first.
    Default: the newest."""
    results_dir: Path = Path("results")
    """Where runs are."""
    reports_dir: Path = Path("reports")
    """Where the report goes."""


def run(request: Report) -> int:
    from bench.records.run_folder import find_run, require_writable
    from bench.render.page.side_by_side import write_side_by_side
    from bench.render.report import write_report

    runs = [find_run(name, request.results_dir) for name in request.runs or (None,)]
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise RequestError(f"{', '.join(request.runs)}: name every run once")
    require_writable("--reports-dir", request.reports_dir)
    say(f"writing the report of {' and '.join(run.name for run in runs)} ...")
    if len(runs) == 1:
        folder = write_report(runs[0], request.reports_dir)
    else:
        folder = write_side_by_side(runs, request.reports_dir)
    print(f"report: {folder / 'index.html'}")
    return OK


@dataclass(frozen=True)
class Reference:
    """Write the accuracies of a run as the reference table that is shipped with the package."""

    run: Annotated[str, Argument(positional=True)]
    """Name of a run, or a path to its folder: every network of quick, all images, one budget."""
    budget: Word = None
    """Which budget of a run that has several."""
    out: Path | None = None
    """Where the table goes. Default: the package's own file."""
    results_dir: Path = Path("results")
    """Where runs are."""


def run_reference(request: Reference) -> int:
    from bench.records.run_folder import find_run
    from bench.render.results.derived import REFERENCE_FILE, reference_table

    out = request.out or REFERENCE_FILE
    table = reference_table(find_run(request.run, request.results_dir), request.budget)
    write("--out", out, table)
    print(f"{table.count(chr(10)) - 1} rows: {out}")
    return OK
