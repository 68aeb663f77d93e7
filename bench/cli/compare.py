"""`compare`: what changed between two stored runs, in a table, Markdown or JSON; the gate that `ab` has too."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from bench.cli import GATE_UNCLEAR, GATE_WORSE, OK, in_a_folder, say, write
from bench.config import RequestError
from bench.quantity import listing
from bench.records.run_folder import find_run
from bench.regression import MARGIN, parse_share
from bench.runner.flags import Argument

MOST_NAMED = 10  # of what a gate finds, the worst


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The flags of `compare` and `ab`: margins, Markdown for a pull request, and an exit status that is a gate."""

    fail_on: Annotated[str | None, Argument("PERCENT")] = None
    """Exit with status 3 if something is significantly worse by more than this, such as 5%; of `compare`, also if it
    failed in NEW only."""
    fail_on_unclear: bool = False
    """Exit with status 4 if it is not clear whether something is worse by more than --fail-on."""
    margin: str = f"{MARGIN:.0%}"
    """Smaller changes of what is timed or trained count as the same. Counts have no margin."""
    markdown: Annotated[str | None, Argument("FILE")] = None
    """Write Markdown for a pull request to this file; - prints it instead of the table."""
    json: bool = False
    """Print JSON for machines; of `ab`, with every pair."""

    def shares(self) -> tuple[float, float | None]:
        """The margin, and what --fail-on asks for.

        Raises:
            RequestError: one of them is no percentage, --fail-on-unclear stands alone, --markdown names no file or no
                folder that there is, or two things are to be printed.
        """
        if self.json and self.markdown == "-":
            raise RequestError("--json prints, and so does --markdown -: name a file for the Markdown")
        if self.markdown is not None and self.markdown != "-" and Path(self.markdown).name == "":
            raise RequestError(f"--markdown {self.markdown!r}: name a file, such as change.md, or - to print it")
        if self.markdown not in (None, "-"):
            in_a_folder("--markdown", Path(self.markdown))
        if self.fail_on_unclear and self.fail_on is None:
            raise RequestError("--fail-on-unclear: only goes with --fail-on, such as --fail-on 5%")
        margin = parse_share("--margin", self.margin)
        return margin, None if self.fail_on is None else parse_share("--fail-on", self.fail_on)

    def status(self, worse: Sequence[str], unclear: Sequence[str]) -> int:
        """The exit status if these are significantly worse, the worst first, and these may be; says so in any case."""
        share = f"{(self.fail_on or '').rstrip(' %')} %"
        if worse:
            say(f"worse by more than {share}: {listing(worse, MOST_NAMED)}")
        if unclear:
            say(f"not clear whether worse by more than {share}: {listing(unclear, MOST_NAMED)}")
        return GATE_WORSE if worse else GATE_UNCLEAR if unclear and self.fail_on_unclear else OK

    def write_markdown(self, text: str) -> None:
        """Write where --markdown says, if it does.

        Raises:
            RequestError: the file cannot be written.
        """
        if self.markdown == "-":
            print(text)
        elif self.markdown is not None:
            write("--markdown", Path(self.markdown), text + "\n")


@dataclass(frozen=True, kw_only=True)
class Compare(Gate):
    """Say what changed between two stored runs: per metric and network the ratio, its interval and a verdict."""

    base: Annotated[str, Argument(positional=True)]
    """Name of a run, or a path to its folder."""
    new: Annotated[str, Argument(positional=True)]
    """The run to compare with it."""
    all: bool = False
    """Also show the rows that are the same."""
    results_dir: Path = Path("results")
    """Where runs are."""


def run(request: Compare) -> int:
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
        most = listing(named(together), MOST_NAMED)
        say(f"worse in all networks together, probably the machine and not the code: {most}")
    status = request.status(named(worse), named(found.unclear(fail_on)))
    return GATE_WORSE if together else status
