"""What a user would otherwise find out one failed run at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from bench import data
from bench.data.cache import cache_dir_of
from bench.device import environment
from bench.runner.prepare import data_dir_of, devices_for


def examine(data_dir: Path | None, cache_dir: Path | None, results_dir: Path) -> Iterator[str]:
    """One line per finding; a line with "->" says how to get what is missing."""
    devices = devices_for("auto")
    for fact, value in environment.describe(devices[0]).items():
        yield f"{fact}: {value}"
    for name, state in environment.conditions(devices).items():
        if isinstance(state, dict):  # of a GPU
            yield from (f"{name} {fact}: {value}" for fact, value in state.items())
        else:
            yield f"{name}: {state}"
    if devices == ("cpu",):
        built = torch.version.cuda
        reason = "this PyTorch was built without CUDA" if built is None else "PyTorch finds no usable GPU or driver"
        yield f"CUDA: no ({reason}) -> `nvidia-smi` shows what the driver sees; without a GPU the preset is quick"
    yield from _images(data_dir_of(data_dir))
    yield from _disk(cache_dir_of(cache_dir), "decoded images")
    yield from _disk(results_dir, "results")


def _images(folder: Path) -> Iterator[str]:
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
