"""`doctor`: what this machine has, and what it lacks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.cli import OK
from bench.runner.flags import Folder


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
    for line in examine(request.data_dir, request.cache_dir, request.results_dir):
        print(line)
    return OK


def examine(data_dir: Path | None, cache_dir: Path | None, results_dir: Path) -> Iterator[str]:
    """One line per finding; a line with "->" says how to get what is missing."""
    from bench.data.cache import cache_dir_of
    from bench.device import environment, nvml
    from bench.render.findings.machine import environment_facts
    from bench.runner.prepare import ON_CPU, data_dir_of, devices_for

    said: list[str] = []
    devices = devices_for("auto", said.append)
    facts: dict[str, object] = {**environment.describe(devices[0])}
    for name, state in environment.machine_state(devices).items():  # a group of facts of each GPU
        facts |= (
            {f"{name} {fact}": value for fact, value in state.items()} if isinstance(state, dict) else {name: state}
        )
    yield from (f"{fact}: {value}" for fact, value in environment_facts(facts).items())
    if devices == ("cpu",):
        reason = " ".join(said) or nvml.why_unused() or "no NVIDIA driver is installed"
        yield f"CUDA: no ({reason.removeprefix(ON_CPU)}); without a GPU the preset is quick"
    else:
        yield from said
    yield from _images(data_dir_of(data_dir))
    yield from _disk(cache_dir_of(cache_dir), "decoded images")
    yield from _disk(results_dir, "results")


def _images(folder: Path) -> Iterator[str]:
    from bench import data

    found = data.found(folder)
    yield from found
    if not found:
        yield (
            f"images: none in {folder} -> the first run downloads CIFAR-10 (170 MB) and MNIST (12 MB), or uses its own "
            "synthetic images; --data-dir or BENCH_DATA_DIR names another folder"
        )


def _disk(folder: Path, what: str) -> Iterator[str]:
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    hint = " -> free at least 1 GiB" if free < 2**30 else ""
    yield f"disk: {free / 2**30:.1f} GiB free for {what} in {folder}{hint}"
