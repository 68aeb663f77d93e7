"""What the nodes of a test's cluster do: imports no torch, so that a fresh process is there at once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data.image_set import ImageSet


def as_it_is(task: Any, image_sets: Mapping[str, ImageSet]) -> Any:
    """A task that reads no images."""
    return task


@dataclass(frozen=True)
class Images:
    """A task that reads images."""

    name: str
    found: tuple[ImageSet, ...] = ()
    group: str = "a"


def visible_gpu(task: Any, device: str) -> str | None:
    """Which GPU of its node a task sees."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def with_images(task: Images, image_sets: Mapping[str, ImageSet]) -> Images:
    return Images(task.name, tuple(image_sets.values()))


def look(task: Images, device: str) -> tuple[str, int]:
    """Where a task found its images, and when they were written there."""
    (found,) = task.found
    return found.folder, (Path(found.folder) / "train_images.npy").stat().st_mtime_ns
