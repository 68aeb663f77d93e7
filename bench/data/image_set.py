"""A data set before and after decoding: where it lies and how to read it, then its identity. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Labelled(NamedTuple):
    """One split in memory."""

    images: NDArray[np.uint8]  # (N, channels, height, width)
    labels: NDArray[np.int64]  # (N,)


@dataclass(frozen=True)
class Published:
    """What is known of a published data set, in whatever layout a copy of it comes."""

    name: str
    title: str  # as its authors write it
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # (channels, height, width)
    counts: tuple[int, int]  # of training and test images
    mirror_ok: bool
    config: str  # its folder in a repository of the Hugging Face hub

    def name_of(self, train: Labelled, test: Labelled, *, jpeg: bool = False) -> str:
        """The name of a copy: "-jpeg" is added for lossy images, "-subset" where not all are there."""
        whole = (len(train.labels), len(test.labels)) == self.counts
        return f"{self.name}{'-jpeg' if jpeg else ''}{'' if whole else '-subset'}"


@dataclass(frozen=True, eq=False)
class Decoded:
    """A data set in memory."""

    name: str
    classes: tuple[str, ...]
    mirror_ok: bool
    train: Labelled
    test: Labelled


@dataclass(frozen=True)
class Source:
    """Where a data set lies, what tells it from another, and how to read it.

    `decode` raises `bench.config.RequestError`, naming the file, for a data set that is there but damaged.
    """

    description: str  # completes "images from ..." for people: kind and path
    identity: tuple[str, ...]  # changes whenever the decoded arrays may change
    decode: Callable[[], Decoded]
    skipped: str = ""  # how many files there are not read, and which


@dataclass(frozen=True)
class ImageSet:
    """A decoded data set on disk, and the identity that every accuracy row carries.

    `folder` holds train_images.npy and test_images.npy, uint8 of shape (N, channels, height, width), and
    train_labels.npy and test_labels.npy, int64 of shape (N,).
    """

    name: str  # "cifar10", "cifar10-jpeg", "mnist", "<one of these>-subset", "synthetic", "folder-<name>"
    folder: str
    source: str  # one sentence for people: where the images came from, and why not from a better place
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # (channels, height, width) of one image
    train_count: int
    test_count: int
    mean: tuple[float, ...]  # per channel, of training pixels scaled to 0..1
    std: tuple[float, ...]
    sha256: str  # over the four arrays
    mirror_ok: bool = True  # whether a horizontal flip keeps the class: not so for digits
    array_sha256: tuple[str, ...] = ()  # of each array, checked whenever one is read; empty: they are not checked


def file_identity(paths: Iterable[Path]) -> tuple[str, ...]:
    """Path, size and time of change of each file: cheap, and different after any ordinary change."""
    return tuple(f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths)
