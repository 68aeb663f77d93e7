"""A place that images can come from, before anything has been decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Decoded:
    """A data set in memory: images uint8 (N, channels, height, width), labels int64 (N,)."""

    name: str
    classes: tuple[str, ...]
    mirror_ok: bool
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """Where a data set lies, what tells it from another, and how to read it.

    `decode` raises `bench.config.RequestError`, naming the file, for a data set that is there but damaged.
    """

    description: str  # completes "images from ..." for people: kind and path
    identity: tuple[str, ...]  # changes whenever the decoded arrays may change
    decode: Callable[[], Decoded]


def file_identity(paths: Iterable[Path]) -> tuple[str, ...]:
    """Path, size and time of change of each file: cheap, and different after any ordinary change."""
    return tuple(f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths)


def exact_name(name: str, counts: tuple[int, int], official: tuple[int, int]) -> str:
    """`name`, or `<name>-subset` where the numbers of training and test images are not the official ones."""
    return name if counts == official else f"{name}-subset"
