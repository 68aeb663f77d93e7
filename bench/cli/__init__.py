"""The verbs of the command line, a file each: a dataclass whose fields are the flags, and `run`, which does it.

Everything heavy is imported inside `run`: `--help` and `report` work without torch.
"""

from bench.runner.interrupts import INTERRUPTED

PROG = "python -m bench"

OK, SOME_FAILED, BAD_REQUEST = 0, 1, 2  # exit statuses, besides INTERRUPTED

__all__ = ["BAD_REQUEST", "INTERRUPTED", "OK", "PROG", "SOME_FAILED"]
