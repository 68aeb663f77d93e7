"""Decoded once: <cache>/<key>/ holds four .npy files and image_set.json, with their identity and checksums.

An entry appears whole, by a rename. A run takes it only if its arrays have the SHA-256 that was written, else they are
decoded again; a worker that reads an array later checks it once more. A run keeps a sheet of its first images.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.config import RequestError
from bench.data.image_set import Decoded, ImageSet, Source

FORMAT = 3  # raise it with any change to what an entry holds

Arrays = dict[str, NDArray[np.generic]]
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_HEADER = "image_set.json"
_ABANDONED_S = 86_400


class _DamagedEntryError(Exception):
    """A cache entry is not what was written; the message says why."""


class DamagedImages(Exception):
    """Decoded images changed on the disk after the run had checked them."""


def cache_dir_of(chosen: Path | None) -> Path:
    """Where decoded images are kept on this machine."""
    if chosen is not None:
        return chosen
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "classic-bench"


def load_or_decode(source: Source, cache_dir: Path, say: Callable[[str], None]) -> ImageSet:
    """The data set of a source, from the cache or decoded into it.

    Raises:
        RequestError: the cache cannot be written, or the source is damaged.
    """
    identity = json.dumps([FORMAT, *source.identity])
    entry = cache_dir / hashlib.sha256(identity.encode()).hexdigest()[:16]
    if entry.exists():
        try:
            return _read(entry, source.description)
        except _DamagedEntryError as reason:
            say(f"the decoded images in {entry} are damaged ({reason}): decoding again")
            shutil.rmtree(entry, ignore_errors=True)

    def decode() -> tuple[ImageSet, Arrays]:
        say(f"preparing {source.description}")
        return _described(source.decode())

    return replace(_written(entry, decode), source=source.description)


def install(image_set: ImageSet, fetch: Callable[[str], NDArray[np.generic]], cache_dir: Path) -> ImageSet:
    """A data set that another machine has decoded, on this one: `fetch` gives its arrays, but only if it is not here.

    Raises:
        RequestError: the cache cannot be written.
        DamagedImages: what `fetch` gives is not this data set.
    """
    entry = cache_dir / image_set.sha256[:16]
    for folder in (Path(image_set.folder), entry):
        try:
            here = _read(folder, image_set.source)
        except _DamagedEntryError:  # as a rule it is not there
            if folder == entry:
                shutil.rmtree(entry, ignore_errors=True)
            continue
        if here.sha256 == image_set.sha256:
            return here

    def fetched() -> tuple[ImageSet, Arrays]:
        arrays = {name: fetch(name) for name in ARRAYS}
        if tuple(array_sha256(arrays[name]) for name in ARRAYS) != image_set.array_sha256:
            raise DamagedImages(f"{image_set.name} did not arrive as it was sent: its SHA-256 is another")
        return image_set, arrays

    return _written(entry, fetched)


def read_array(image_set: ImageSet, name: str) -> NDArray[Any]:
    """One of `ARRAYS`, in memory of its own, checked as it is there.

    Raises:
        DamagedImages: it is not what the run was started with.
    """
    path = Path(image_set.folder) / f"{name}.npy"
    try:
        array: NDArray[Any] = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise DamagedImages(f"{path} cannot be read any more: {' '.join(str(error).split())}") from error
    if image_set.array_sha256 and array_sha256(array) != image_set.array_sha256[ARRAYS.index(name)]:
        raise DamagedImages(f"{path} has changed since the run began: is the disk sound? A new run decodes it again")
    return array


def array_sha256(array: NDArray[np.generic]) -> str:
    """Over type, shape and contents."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def sha256_of(arrays: Arrays) -> str:
    """Over names, types, shapes and contents, in the order of `ARRAYS`."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def _written(entry: Path, make: Callable[[], tuple[ImageSet, Arrays]]) -> ImageSet:
    """The image set of a new entry; where another run has written it meanwhile, that one stays."""
    building = entry.with_name(f"{entry.name}.{secrets.token_hex(4)}.building")
    try:
        building.mkdir(parents=True)
        for left in entry.parent.glob("*.building"):  # by a process that was killed; others work for minutes at most
            if building.stat().st_mtime - left.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        raise _unwritable(entry.parent, error) from error
    try:
        image_set, arrays = make()
        try:
            for name, array in arrays.items():
                np.save(building / f"{name}.npy", array)
            (building / _HEADER).write_bytes(msgspec.json.format(msgspec.json.encode(image_set)) + b"\n")
            building.rename(entry)
        except OSError as error:
            try:
                return _read(entry, image_set.source)  # another run was faster
            except _DamagedEntryError:
                raise _unwritable(entry.parent, error) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return replace(image_set, folder=str(entry.absolute()))


def _described(decoded: Decoded) -> tuple[ImageSet, Arrays]:
    arrays: Arrays = dict(zip(ARRAYS, (*decoded.train, *decoded.test), strict=True))
    mean, std = _statistics(decoded.train.images)
    channels, height, width = decoded.train.images.shape[1:]
    image_set = ImageSet(
        name=decoded.name,
        folder="",
        source="",
        classes=decoded.classes,
        shape=(channels, height, width),
        train_count=len(decoded.train.labels),
        test_count=len(decoded.test.labels),
        mean=mean,
        std=std,
        sha256=sha256_of(arrays),
        mirror_ok=decoded.mirror_ok,
        array_sha256=tuple(map(array_sha256, arrays.values())),
    )
    return image_set, arrays


def _read(entry: Path, description: str) -> ImageSet:
    try:
        image_set = msgspec.json.decode((entry / _HEADER).read_bytes(), type=ImageSet)
        sums = tuple(array_sha256(np.load(entry / f"{name}.npy", mmap_mode="r")) for name in ARRAYS)
    except (OSError, ValueError, EOFError) as error:
        raise _DamagedEntryError(" ".join(str(error).split())) from error
    if image_set.array_sha256 != sums:
        raise _DamagedEntryError("its SHA-256 is another")
    return replace(image_set, folder=str(entry.absolute()), source=description)


def _statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of pixels scaled to 0..1, from counts of the 256 values."""
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, np.int64)
        for start in range(0, len(images), 4096):
            counts += np.bincount(images[start : start + 4096, channel].ravel(), minlength=256)
        mean = float(counts @ values / counts.sum())
        means.append(mean)
        # A channel of one value is divided by 1, not by 0.
        stds.append(float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum())) or 1.0)
    return tuple(means), tuple(stds)


def _unwritable(cache_dir: Path, error: OSError) -> RequestError:
    return RequestError(f"the cache {cache_dir} cannot be written: {error.strerror}; choose another --cache-dir")


MOST_CLASSES = 20


def preview_sheet(image_set: ImageSet) -> bytes:
    """The first training image of each of the first 20 classes, from left to right, without gaps; PNG.

    Raises:
        OSError, ValueError: the decoded images cannot be read, or lack a class.
    """
    folder = Path(image_set.folder)
    labels = np.load(folder / "train_labels.npy", mmap_mode="r")
    images = np.load(folder / "train_images.npy", mmap_mode="r")
    found, first = np.unique(labels, return_index=True)
    shown = min(len(image_set.classes), MOST_CLASSES)
    if not np.array_equal(found[:shown], np.arange(shown)):
        raise ValueError(f"{image_set.name} has no image of some class")
    sheet = np.concatenate([images[index] for index in first[:shown]], axis=2)  # (C, H, shown * W)
    pixels = sheet[0] if len(sheet) == 1 else sheet.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return file.getvalue()
