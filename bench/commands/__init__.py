"""Verbs of the command line that are more than a few lines, one file each; what is typed, and what comes of it."""

from bench.interrupts import INTERRUPTED

OK, SOME_FAILED, BAD_REQUEST = 0, 1, 2  # exit statuses, beside INTERRUPTED

__all__ = ["BAD_REQUEST", "INTERRUPTED", "OK", "SOME_FAILED"]
