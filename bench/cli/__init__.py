"""The verbs of the command line, a file each: a dataclass whose fields are the flags, and `run`, which does it.

Everything heavy is imported inside `run`: `--help` and `report` work without torch.
"""

import sys

from bench.engines import INTERRUPTED

PROG = "python -m bench"

# Exit statuses, besides INTERRUPTED. GATE_*: --fail-on found something worse, or with --fail-on-unclear cannot tell.
OK, SOME_FAILED, BAD_REQUEST, GATE_WORSE, GATE_UNCLEAR = 0, 1, 2, 3, 4

__all__ = ["BAD_REQUEST", "GATE_UNCLEAR", "GATE_WORSE", "INTERRUPTED", "OK", "PROG", "SOME_FAILED", "say"]


def say(line: str) -> None:
    """Print to standard error, which leaves standard output to the result."""
    print(line, file=sys.stderr)
