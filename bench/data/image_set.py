"""What a data set is once it has been decoded: its identity and where its arrays lie. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


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
