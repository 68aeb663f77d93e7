"""`doctor`: what this machine has, and what it lacks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.cli import OK
from bench.runner.request import Folder


@dataclass(frozen=True)
class Doctor:
    """Say what this machine has, what is missing and how to get it."""

    data_dir: Folder = None
    """Where images are looked for. Default: $BENCH_DATA_DIR, else data/."""
    cache_dir: Folder = None
    """Where decoded images are kept. Default: $XDG_CACHE_HOME/classic-bench, else ~/.cache/classic-bench."""
    results_dir: Path = Path("results")
    """Where runs would be written."""


def run(request: Doctor) -> int:
    """Do it; returns the exit status."""
    from bench.runner.diagnosis import examine

    for line in examine(request.data_dir, request.cache_dir, request.results_dir):
        print(line)
    return OK
