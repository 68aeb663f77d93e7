"""A user's own folder, `train/<class>/` and `test/<class>/` with images in them, converted to a track's images."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path

import numpy as np

from bench.config import RequestError, Track
from bench.data.image_set import Decoded, Labelled, Source, decode_images, file_identity

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")
_LEFTOVERS = {"thumbs.db", "desktop.ini", "__macosx"}  # of file managers, besides all that is hidden
_NAMED = 3  # of the files that are skipped

Classes = dict[str, list[Path]]


def find(folder: Path, track: Track) -> Source:
    """The images of a folder as 32x32 colour (cifar) or 28x28 grey (mnist); `skipped` counts what is not read.

    Raises:
        RequestError: the folder does not have the layout.
    """
    shape = (1, 28, 28) if track == "mnist" else (3, 32, 32)
    skipped: list[Path] = []
    train, test = (_images_by_class(folder, split, skipped) for split in ("train", "test"))
    skipped += [entry for entry in folder.iterdir() if entry.is_dir() and entry.name not in ("train", "test")]
    if train.keys() != test.keys():
        differing = ", ".join(sorted(train.keys() ^ test.keys()))
        raise RequestError(f"{folder}: train/ and test/ must have the same class folders; only one has {differing}")
    if len(train) < 2:
        raise RequestError(f"{folder}: train/ has one class folder; at least two are needed")
    paths = [path for classes in (train, test) for of_class in classes.values() for path in of_class]
    digest = hashlib.sha256("\n".join(file_identity(paths)).encode()).hexdigest()
    _, height, width = shape
    mode = "grey" if track == "mnist" else "RGB"
    return Source(
        f"the class folders in {folder}, converted to {mode} and resized to {width}x{height} "
        "(bilinear, proportions not kept)",
        (f"upright folder {track} {folder.resolve()}", digest),
        partial(_decode, folder, train, test, shape),
        skipped=_told(folder, skipped),
    )


def is_leftover(name: str) -> bool:
    """Whether a file or folder is none of the user's own: hidden, such as `._a.png` and `.DS_Store`, or Thumbs.db."""
    return name.startswith(".") or name.lower() in _LEFTOVERS


def is_image(name: str) -> bool:
    """Whether a file is read as an image, by its name."""
    return name.lower().endswith(SUFFIXES) and not is_leftover(name)


def _images_by_class(folder: Path, split: str, skipped: list[Path]) -> Classes:
    """The images below each class folder, sorted; every other file below the split goes to `skipped`."""
    layout = f"expected train/<class>/ and test/<class>/ with images ({' '.join(SUFFIXES)})"
    images: Classes = {}
    try:
        for entry in sorted((folder / split).iterdir()):
            if is_leftover(entry.name) or not entry.is_dir():
                skipped.append(entry)
            else:
                images[entry.name] = _images_below(entry, skipped)
    except OSError as error:
        there = ", ".join(sorted(f"{entry.name}/" for entry in folder.iterdir() if entry.is_dir())[:_NAMED])
        has = f" but {there}" if there else ""
        raise RequestError(f"{folder} has no readable folder {split}/{has}: {layout}") from error
    empty = [name for name, paths in images.items() if not paths]
    if empty or not images:
        where = f"{split}/{empty[0]}/" if empty else f"{split}/"
        raise RequestError(f"{folder} has no images in {where} ({_told(folder, skipped) or 'it is empty'}): {layout}")
    return images


def _images_below(class_folder: Path, skipped: list[Path]) -> list[Path]:
    images: list[Path] = []
    for parent, folders, files in os.walk(class_folder, onerror=_raise):
        # A link may lead back to where it is.
        for name in [name for name in folders if is_leftover(name) or Path(parent, name).is_symlink()]:
            folders.remove(name)
            skipped.append(Path(parent, name))
        for name in files:
            (images if is_image(name) else skipped).append(Path(parent, name))
    return sorted(images)


def _raise(error: OSError) -> None:
    raise error


def _told(folder: Path, skipped: list[Path]) -> str:
    """What is not read, counted and named: "skipped 1 of other kinds (train/cat/notes.txt)"; empty if nothing is."""
    parts = []
    for leftover, kind in ((False, "of other kinds"), (True, "hidden or left over by a file manager")):
        names = sorted(path.relative_to(folder).as_posix() for path in skipped if is_leftover(path.name) == leftover)
        if names:
            parts.append(f"{len(names):,} {kind} ({', '.join(names[:_NAMED])}{', ...' if names[_NAMED:] else ''})")
    return f"skipped {' and '.join(parts)}" if parts else ""


def _decode(folder: Path, train: Classes, test: Classes, shape: tuple[int, int, int]) -> Decoded:
    return Decoded(
        f"folder-{folder.resolve().name}",
        tuple(train),
        mirror_ok=shape[0] == 3,  # grey images are mostly characters
        train=_decode_split(folder, train, shape),
        test=_decode_split(folder, test, shape),
    )


def _decode_split(folder: Path, by_class: Classes, shape: tuple[int, int, int]) -> Labelled:
    paths = [path for of_class in by_class.values() for path in of_class]
    labels = np.repeat(np.arange(len(by_class), dtype=np.int64), [len(paths) for paths in by_class.values()])
    return Labelled(decode_images(paths, shape, folder, resize=True), labels)
