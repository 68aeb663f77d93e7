"""A data set before and after decoding: where it lies and how to read it, encoded images, its identity. No torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from bench.config import RequestError


class Labelled(NamedTuple):
    """One split in memory."""

    images: NDArray[np.uint8]  # (N, channels, height, width)
    labels: NDArray[np.int64]  # (N,)


@dataclass(frozen=True)
class PublishedSet:
    """What is known of a published data set, in whatever layout a copy of it comes."""

    name: str
    title: str  # as its authors write it
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # (channels, height, width)
    counts: tuple[int, int]  # of training and test images
    mirror_ok: bool
    config: str  # its folder in a repository of the Hugging Face hub

    def decoded(self, train: Labelled, test: Labelled, *, jpeg: bool = False) -> Decoded:
        """A copy in memory; "-jpeg" is added to its name for lossy images, "-subset" where not all are there."""
        whole = (len(train.labels), len(test.labels)) == self.counts
        name = f"{self.name}{'-jpeg' if jpeg else ''}{'' if whole else '-subset'}"
        return Decoded(name, self.classes, self.mirror_ok, train, test)


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


_PER_TASK = 500


def decode_images(
    encoded: Sequence[bytes | Path], shape: tuple[int, int, int], origin: Path, resize: bool = False
) -> NDArray[np.uint8]:
    """Decode in threads (Pillow releases the interpreter's lock) to the given (channels, height, width).

    `origin` is the file that bytes are from, for errors. Without `resize` every image must have this size; with it,
    each is turned upright first, as its camera noted.

    Raises:
        RequestError: an image cannot be decoded or has another size.
    """
    channels, height, width = shape
    images = np.empty((len(encoded), height, width, channels), np.uint8)

    def decode(i: int) -> None:
        item = encoded[i]
        name = str(item) if isinstance(item, Path) else f"{origin}: image {i}"
        try:
            with Image.open(BytesIO(item) if isinstance(item, bytes) else item) as image:
                pixels = _of_8_bits(image).convert("L" if channels == 1 else "RGB")
            if resize:
                ImageOps.exif_transpose(pixels, in_place=True)
        except Exception as error:  # Pillow's decoders raise a dozen types for damaged bytes
            raise RequestError(f"{name} cannot be decoded: {error}") from error
        if resize and pixels.size != (width, height):
            pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
        if pixels.size != (width, height):
            raise RequestError(f"{name} is {pixels.width}x{pixels.height} pixels, not {width}x{height}")
        images[i] = np.asarray(pixels).reshape(height, width, channels)

    def decode_range(start: int) -> None:
        for i in range(start, min(start + _PER_TASK, len(encoded))):
            decode(i)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode_range, range(0, len(encoded), _PER_TASK)))
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _of_8_bits(image: Image.Image) -> Image.Image:
    """An image of 16-bit grey by its upper 8 bits, as Pillow reads 16-bit colour; `convert` would cut it off at 255.

    Raises:
        ValueError: its numbers have no range to scale from.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):  # "I": in older Pillow
        (bits,) = image.tag_v2[BITSPERSAMPLE] if isinstance(image, TiffImageFile) else (16,)  # TIFF has 12 too
        return Image.fromarray((np.asarray(image).astype(np.int64) >> (bits - 8)).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are 32-bit or signed numbers without a range: save it with 8 or 16 bits")
    return image
