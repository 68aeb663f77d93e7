"""Parquet files in the layouts that the Hugging Face hub leaves: encoded images and labels.

A split is `train-00000-of-00001.parquet` (one or several parts), `train.parquet`, or `train/0000.parquet` and so on, in
a folder of the data set or its `plain_text/`, `mnist/`, `default/` or `data/`, as the hub's repositories have them.
Columns: `img` or `image`, encoded bytes (PNG or JPEG) alone or in a struct with `path`; `label`, an integer.
"""

from __future__ import annotations

import re
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.config import RequestError
from bench.data.image_set import Decoded, Labelled, PublishedSet, Source, decode_images, file_identity

_JPEG = b"\xff\xd8"


def find(data_dir: Path, published: PublishedSet) -> Source | None:
    """The files in the data set's own folder or the hub's cache, else in `data_dir` if they hold images of its size.

    Raises:
        RequestError: one split is there without the other, a part of a split is missing or a file damaged.
    """
    cached = sorted(data_dir.glob(f"datasets--*{published.name}/snapshots/*"))
    for root in (data_dir / published.name, *cached, data_dir):
        for folder in (root, *(root / name for name in (published.config, "default", "data"))):
            train, test = _files(folder, "train"), _files(folder, "test")
            if not train and not test:
                continue
            if root == data_dir and _first_image_size([*train, *test][0]) != published.shape[1:]:
                continue  # another data set: `data_dir` says nothing about which one it holds
            for split, paths in (("train", train), ("test", test)):
                _require_all_parts(folder, split, paths)
            return Source(
                f"the Parquet files in {folder}",
                file_identity([*train, *test]),
                partial(_decode, train, test, published),
            )
    return None


def _files(folder: Path, split: str) -> list[Path]:
    for pattern in (f"{split}-*.parquet", f"{split}.parquet", f"{split}/[!.]*.parquet"):
        if paths := sorted(folder.glob(pattern)):
            return paths
    return []


def _require_all_parts(folder: Path, split: str, paths: list[Path]) -> None:
    if not paths:
        raise RequestError(f"{folder} has no {split}-*.parquet though the other split is there: add it")
    for number, path in enumerate(paths):
        of = re.fullmatch(rf"{split}-\d+-of-(\d+)\.parquet", path.name)
        if of and int(of[1]) != len(paths):
            raise RequestError(f"{folder} has {len(paths)} of the {int(of[1])} parts that {path.name} belongs to")
        if path.stem.isdecimal() and int(path.stem) != number:
            raise RequestError(f"{path.parent} has no {number:04}.parquet: add it")


class _OtherColumnsError(RequestError):
    """A Parquet file does not hold images and labels."""


def _first_image_size(path: Path) -> tuple[int, int] | None:
    """(height, width) of the first image; None where the file is of something else."""
    try:
        encoded, _ = _read(path, batches=1)
    except _OtherColumnsError:
        return None
    try:
        with Image.open(BytesIO(encoded[0])) as image:
            return image.height, image.width
    except (OSError, IndexError) as error:
        raise RequestError(f"{path}: its first image cannot be decoded: {error}") from error


def _decode(train: list[Path], test: list[Path], published: PublishedSet) -> Decoded:
    encodings: set[str] = set()
    training, testing = (_decode_split(paths, published, encodings) for paths in (train, test))
    return published.decoded(training, testing, jpeg="jpeg" in encodings)


def _decode_split(paths: list[Path], published: PublishedSet, encodings: set[str]) -> Labelled:
    images, labels = [], []
    for path in paths:
        encoded, label = _read(path)
        if label.size and (label.min() < 0 or label.max() >= len(published.classes)):
            raise RequestError(
                f"{path}: labels run from {label.min()} to {label.max()}, not from 0 to {len(published.classes) - 1}"
            )
        encodings.update("jpeg" if item[:2] == _JPEG else "lossless" for item in encoded)
        images.append(decode_images(encoded, published.shape, path))
        labels.append(label)
    if not sum(map(len, labels)):
        raise RequestError(f"{paths[0]} holds no images")
    return Labelled(np.concatenate(images), np.concatenate(labels))


def _read(path: Path, batches: int | None = None) -> tuple[list[bytes], NDArray[np.int64]]:
    """Encoded images and labels of one file, or of its first batches."""
    import pyarrow as pa  # here, so that commands that read no images start without it
    import pyarrow.parquet as pq

    encoded: list[bytes] = []
    labels: list[NDArray[np.int64]] = []
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            columns = _columns(path, file.schema_arrow)
            for batch in islice(file.iter_batches(columns=columns), batches):
                image, label = (batch.column(name) for name in columns)
                if pa.types.is_struct(image.type):
                    image = image.field("bytes")
                if label.null_count or image.null_count:
                    raise RequestError(f"{path}: an image or a label is missing (null)")
                encoded.extend(image.to_pylist())
                labels.append(label.to_numpy(zero_copy_only=False).astype(np.int64))
    except (pa.ArrowException, OSError) as error:
        raise RequestError(f"{path} is damaged or not Parquet: {' '.join(str(error).split())}") from error
    return encoded, np.concatenate(labels) if labels else np.empty(0, np.int64)


def _columns(path: Path, schema: Any) -> list[str]:
    """Names of the image and of the label column.

    Raises:
        _OtherColumnsError: one is missing or of another type.
    """
    import pyarrow as pa

    types = dict(zip(schema.names, schema.types, strict=True))
    image = "img" if "img" in types else "image"
    held = types.get(image)
    if held is not None and pa.types.is_struct(held) and held.get_field_index("bytes") >= 0:
        held = held.field("bytes").type
    if held is None or not (pa.types.is_binary(held) or pa.types.is_large_binary(held)):
        raise _OtherColumnsError(
            f"{path} has no column img or image that holds encoded bytes; it has {', '.join(types)}"
        )
    if "label" not in types or not pa.types.is_integer(types["label"]):
        raise _OtherColumnsError(f"{path} has no integer column label; it has {', '.join(types)}")
    return [image, "label"]
