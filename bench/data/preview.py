"""One image of each class of a data set side by side, as a small PNG that a run keeps for its report."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.image_set import ImageSet

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
