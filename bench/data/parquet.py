"""Parquet files in the layout of the Hugging Face hub: `{train,test}-*.parquet`, encoded images and labels.

Columns: `img` or `image`, a struct of `bytes` (PNG or JPEG) and `path`; `label`, an integer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.config import RequestError
from bench.data.decode import decode_images
from bench.data.image_set import Decoded, Source, exact_name, file_identity

_JPEG = b"\xff\xd8"


@dataclass(frozen=True)
class Layout:
    """What a Parquet copy of a data set must look like."""

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    counts: tuple[int, int]  # official numbers of training and test images
    mirror_ok: bool


def find(data_dir: Path, layout: Layout) -> Source | None:
    """The files in the data set's own folder, else in `data_dir` itself if their first image has its size.

    Raises:
        RequestError: one split is there without the other, a part of a split is missing or a file damaged.
    """
    for folder in (data_dir / layout.name, data_dir):
        files = {split: sorted(folder.glob(f"{split}-*.parquet")) for split in ("train", "test")}
        if not any(files.values()):
            continue
        for split, paths in files.items():
            _require_all_parts(folder, split, paths)
        if folder == data_dir and _first_image_size(files["train"][0]) != layout.shape[1:]:
            continue  # another data set: `data_dir` says nothing about which one it holds
        return Source(
            f"the Parquet files in {folder}",
            file_identity([*files["train"], *files["test"]]),
            partial(_decode, files["train"], files["test"], layout),
        )
    return None


def _require_all_parts(folder: Path, split: str, paths: list[Path]) -> None:
    if not paths:
        raise RequestError(f"{folder} has no {split}-*.parquet beside the other split: add it")
    for path in paths:
        numbered = re.fullmatch(rf"{split}-\d+-of-(\d+)\.parquet", path.name)
        if numbered and int(numbered[1]) != len(paths):
            raise RequestError(f"{folder} has {len(paths)} of the {int(numbered[1])} parts that {path.name} belongs to")


def _first_image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the first image."""
    encoded, _ = _read(path, batches=1)
    try:
        with Image.open(BytesIO(encoded[0])) as image:
            return image.height, image.width
    except (OSError, IndexError) as error:
        raise RequestError(f"{path}: its first image cannot be decoded: {error}") from error


def _decode(train: list[Path], test: list[Path], layout: Layout) -> Decoded:
    encodings: set[str] = set()
    splits = [_decode_split(paths, layout, encodings) for paths in (train, test)]
    (train_images, train_labels), (test_images, test_labels) = splits
    name = f"{layout.name}-jpeg" if "jpeg" in encodings else layout.name
    return Decoded(
        name=exact_name(name, (len(train_labels), len(test_labels)), layout.counts),
        classes=layout.classes,
        mirror_ok=layout.mirror_ok,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
    )


def _decode_split(
    paths: list[Path], layout: Layout, encodings: set[str]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = [], []
    for path in paths:
        encoded, label = _read(path)
        if label.size and (label.min() < 0 or label.max() >= len(layout.classes)):
            raise RequestError(
                f"{path}: labels run from {label.min()} to {label.max()}, not from 0 to {len(layout.classes) - 1}"
            )
        encodings.update("jpeg" if item[:2] == _JPEG else "lossless" for item in encoded)
        images.append(decode_images(encoded, layout.shape, path))
        labels.append(label)
    if not sum(map(len, labels)):
        raise RequestError(f"{paths[0]} holds no images")
    return np.concatenate(images), np.concatenate(labels)


def _read(path: Path, batches: int | None = None) -> tuple[list[bytes], NDArray[np.int64]]:
    """Encoded images and labels of one file, or of its first batches.

    Raises:
        RequestError: it is not Parquet, is damaged, or lacks a column or a value.
    """
    import pyarrow as pa  # here, so that commands that read no images start without it
    import pyarrow.parquet as pq

    encoded: list[bytes] = []
    labels: list[NDArray[np.int64]] = []
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            columns = _columns(path, file.schema_arrow)
            for batch in islice(file.iter_batches(columns=columns), batches):
                image, label = (batch.column(name) for name in columns)
                if label.null_count or image.field("bytes").null_count:
                    raise RequestError(f"{path}: an image or a label is missing (null)")
                encoded.extend(image.field("bytes").to_pylist())
                labels.append(label.to_numpy(zero_copy_only=False).astype(np.int64))
    except (pa.ArrowException, OSError) as error:
        raise RequestError(f"{path} is damaged or not Parquet: {' '.join(str(error).split())}") from error
    return encoded, np.concatenate(labels) if labels else np.empty(0, np.int64)


def _columns(path: Path, schema: Any) -> list[str]:
    """Names of the image and of the label column."""
    import pyarrow as pa

    types = dict(zip(schema.names, schema.types, strict=True))
    image = next((name for name in ("img", "image") if name in types), None)
    if image is None or not pa.types.is_struct(types[image]) or types[image].get_field_index("bytes") < 0:
        raise RequestError(f"{path} has no column img or image that holds encoded bytes; it has {', '.join(types)}")
    if "label" not in types or not pa.types.is_integer(types["label"]):
        raise RequestError(f"{path} has no integer column label; it has {', '.join(types)}")
    return [image, "label"]
