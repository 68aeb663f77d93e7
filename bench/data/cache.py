"""Decoded once: <cache>/<key>/ holds four .npy files and image_set.json, with their identity and checksum.

An entry appears whole, by a rename. It is read back only if its arrays have the SHA-256 that was written;
else it is decoded again.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.config import RequestError
from bench.data.image_set import ImageSet
from bench.data.source import Decoded, Source

FORMAT = 1  # raise it with any change to what an entry holds

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_HEADER = "image_set.json"
_ON_DISK = tuple(field.name for field in fields(ImageSet) if field.name not in ("folder", "source"))


class _DamagedEntryError(Exception):
    """A cache entry is not what was written; the message says why."""


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

    building = cache_dir / f"{entry.name}.{secrets.token_hex(4)}.building"
    try:
        building.mkdir(parents=True)
    except OSError as error:
        raise _unwritable(cache_dir, error) from error
    try:
        say(f"preparing {source.description}")
        decoded = source.decode()
        try:
            _write(building, decoded)
            _put(building, entry)
        except OSError as error:
            raise _unwritable(cache_dir, error) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    try:
        return _read(entry, source.description)
    except _DamagedEntryError as reason:
        raise RequestError(f"{entry} differs from what was just written to it ({reason}): is the disk sound?") from None


def sha256_of(arrays: dict[str, NDArray[np.generic]]) -> str:
    """Over names, types, shapes and contents, in the order of `ARRAYS`."""
    digest = hashlib.sha256()
    for name in ARRAYS:
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def _write(folder: Path, decoded: Decoded) -> None:
    arrays: dict[str, NDArray[np.generic]] = {name: getattr(decoded, name) for name in ARRAYS}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    mean, std = _statistics(decoded.train_images)
    channels, height, width = decoded.train_images.shape[1:]
    image_set = ImageSet(
        name=decoded.name,
        folder="",
        source="",
        classes=decoded.classes,
        shape=(channels, height, width),
        train_count=len(decoded.train_labels),
        test_count=len(decoded.test_labels),
        mean=mean,
        std=std,
        sha256=sha256_of(arrays),
        mirror_ok=decoded.mirror_ok,
    )
    written = {name: value for name, value in asdict(image_set).items() if name in _ON_DISK}
    (folder / _HEADER).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def _put(building: Path, entry: Path) -> None:
    """Give a finished entry its name, in place of none or a damaged one; another run's good one stays."""
    try:
        building.rename(entry)
    except OSError:
        if not entry.exists():
            raise
        try:
            _read(entry, "")
        except _DamagedEntryError:
            damaged = building.with_suffix(".damaged")
            entry.rename(damaged)
            building.rename(entry)
            shutil.rmtree(damaged, ignore_errors=True)


def _read(entry: Path, description: str) -> ImageSet:
    try:
        header = json.loads((entry / _HEADER).read_text(encoding="utf-8"))
        arrays = {name: np.load(entry / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        if set(header) != set(_ON_DISK):
            raise _DamagedEntryError(f"{_HEADER} has other fields")
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise _DamagedEntryError(" ".join(str(error).split())) from error
    if sha256_of(arrays) != header["sha256"]:
        raise _DamagedEntryError("its SHA-256 is another")
    lists = {name: tuple(header[name]) for name in ("classes", "shape", "mean", "std")}
    return ImageSet(**{**header, **lists}, folder=str(entry.absolute()), source=description)


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
