"""A folder of one's own, `train/<class>/*.png|jpg` and `test/<class>/*`, converted to a track's images."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.config import RequestError, Track
from bench.data.decode import decode_images
from bench.data.image_set import Decoded, Source, file_identity

_SUFFIXES = {".png", ".jpg", ".jpeg"}


def find(folder: Path, track: Track) -> Source:
    """The images of a folder as 32x32 colour (cifar) or 28x28 grey (mnist).

    Raises:
        RequestError: the folder does not have the layout.
    """
    shape = (1, 28, 28) if track == "mnist" else (3, 32, 32)
    files = {split: _images_by_class(folder, split) for split in ("train", "test")}
    classes, test_classes = tuple(files["train"]), tuple(files["test"])
    if classes != test_classes:
        differing = ", ".join(sorted(set(classes) ^ set(test_classes)))
        raise RequestError(f"{folder}: train/ and test/ must have the same class folders; only one has {differing}")
    if len(classes) < 2:
        raise RequestError(f"{folder}: train/ has one class folder; at least two are needed")
    paths = [path for by_class in files.values() for of_class in by_class.values() for path in of_class]
    digest = hashlib.sha256("\n".join(file_identity(paths)).encode()).hexdigest()
    _, height, width = shape
    mode = "grey" if track == "mnist" else "RGB"
    return Source(
        f"the class folders in {folder}, converted to {mode} and resized to {width}x{height} "
        "(bilinear, proportions not kept)",
        (f"folder {track} {folder.resolve()}", digest),
        partial(_decode, folder, files["train"], files["test"], shape),
    )


def _images_by_class(folder: Path, split: str) -> dict[str, list[Path]]:
    layout = "expected train/<class>/*.png or *.jpg and test/<class>/*.png or *.jpg"
    try:
        classes = sorted(p for p in (folder / split).iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise RequestError(f"{folder} has no readable folder {split}/: {layout}") from error
    images = {c.name: sorted(p for p in c.iterdir() if p.suffix.lower() in _SUFFIXES) for c in classes}
    empty = [name for name, paths in images.items() if not paths]
    if empty or not images:
        where = f"{split}/{empty[0]}/" if empty else f"{split}/"
        raise RequestError(f"{folder} has no images in {where}: {layout}")
    return images


def _decode(
    folder: Path, train: dict[str, list[Path]], test: dict[str, list[Path]], shape: tuple[int, int, int]
) -> Decoded:
    train_images, train_labels = _decode_split(folder, train, shape)
    test_images, test_labels = _decode_split(folder, test, shape)
    return Decoded(
        name=f"folder-{folder.resolve().name}",
        classes=tuple(train),
        mirror_ok=shape[0] == 3,  # grey images are mostly characters
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
    )


def _decode_split(
    folder: Path, by_class: dict[str, list[Path]], shape: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    paths = [path for of_class in by_class.values() for path in of_class]
    labels = np.repeat(np.arange(len(by_class), dtype=np.int64), [len(paths) for paths in by_class.values()])
    return decode_images(paths, shape, folder, resize=True), labels
