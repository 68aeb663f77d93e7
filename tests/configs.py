"""The configuration of a run for tests: everything once and for a moment, unless they say otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.config import Budget, Config
from bench.records.run_folder import Run, RunHeader, checked_name

_BRIEF = Config(
    preset="quick",
    probes=(),
    budget=Budget(1, "ep"),
    seeds=1,
    dataset="auto",
    batch_size={},
    train_batch_size=None,
    test_images=None,
    measure_seconds=0.1,
    task_timeout_s=None,
)


def config(*probes: str, batch: int = 2, **changes: Any) -> Config:
    """One that measures these probes, with batches of so many images on every track."""
    return replace(_BRIEF, probes=probes, batch_size={"cifar": batch, "mnist": batch, "imagenet": batch}, **changes)


def new_run(results: Path, name: str, header: RunHeader) -> Run:
    """A folder with its run.json."""
    run = Run(results / checked_name(name), header)
    with run.writer():
        run.rewrite_header(header)
    return run
