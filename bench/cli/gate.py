"""What `compare` and `ab` have in common: margins, Markdown for a pull request, and an exit status that is a gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bench.cli import GATE_UNCLEAR, GATE_WORSE, OK, say
from bench.cli.parsing import write
from bench.config import RequestError
from bench.quantity import listing
from bench.regression import MARGIN, parse_share

MOST_NAMED = 10  # of what a gate finds, the worst


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The flags of both."""

    fail_on: Annotated[str | None, tyro.conf.arg(metavar="PERCENT", help_behavior_hint="")] = None
    """Exit with status 3 if something is significantly worse by more than this, such as 5%; of `compare`, also if it
    failed in NEW only."""
    fail_on_unclear: tyro.conf.FlagCreatePairsOff[bool] = False
    """Exit with status 4 if it is not clear whether something is worse by more than --fail-on."""
    margin: str = f"{MARGIN:.0%}"
    """Smaller changes of what is timed or trained count as the same. Counts have no margin."""
    markdown: Annotated[str | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """Write Markdown for a pull request to this file; - prints it instead of the table."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print JSON for machines; of `ab`, with every pair."""

    def shares(self) -> tuple[float, float | None]:
        """The margin, and what --fail-on asks for.

        Raises:
            RequestError: one of them is no percentage, or --fail-on-unclear stands alone.
        """
        if self.fail_on_unclear and self.fail_on is None:
            raise RequestError("--fail-on-unclear: only goes with --fail-on, such as --fail-on 5%")
        margin = parse_share("--margin", self.margin)
        return margin, None if self.fail_on is None else parse_share("--fail-on", self.fail_on)

    def status(self, worse: Sequence[str], unclear: Sequence[str]) -> int:
        """The exit status if these are significantly worse, the worst first, and these may be; says so in any case."""
        if worse:
            say(f"worse by more than {self.fail_on}: {listing(worse, MOST_NAMED)}")
        if unclear:
            say(f"not clear whether worse by more than {self.fail_on}: {listing(unclear, MOST_NAMED)}")
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
