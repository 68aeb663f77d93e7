"""One image of each class, as a run keeps them."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import ImageSet
from bench.data.cache import MOST_CLASSES, preview_sheet
from tests.data import fakes


def stored(folder: Path, images: np.ndarray, labels: np.ndarray, classes: int) -> ImageSet:
    np.save(folder / "train_images.npy", images)
    np.save(folder / "train_labels.npy", labels)
    names = tuple(f"class {number}" for number in range(classes))
    channels, height, width = images.shape[1:]
    return ImageSet("test", str(folder), "", names, (channels, height, width), len(labels), 0, (), (), "")


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_image_of_each_class_in_the_order_of_the_classes(tmp_path: Path, channels: int) -> None:
    images = fakes.random_images(6, (channels, 8, 8))
    sheet = preview_sheet(stored(tmp_path, images, np.array([2, 2, 0, 1, 0, 1]), 3))
    pixels = np.asarray(Image.open(io.BytesIO(sheet))).reshape(8, 24, channels)
    for place, index in enumerate((2, 3, 0)):
        np.testing.assert_array_equal(pixels[:, 8 * place : 8 * place + 8], images[index].transpose(1, 2, 0))


def test_many_classes_are_cut(tmp_path: Path) -> None:
    count = MOST_CLASSES + 5
    image_set = stored(tmp_path, fakes.random_images(count, (3, 8, 8)), np.arange(count), count)
    assert Image.open(io.BytesIO(preview_sheet(image_set))).size == (8 * MOST_CLASSES, 8)


def test_an_empty_class_is_an_error(tmp_path: Path) -> None:
    image_set = stored(tmp_path, fakes.random_images(2, (3, 8, 8)), np.array([0, 2]), 3)
    with pytest.raises(ValueError, match="no image of some class"):
        preview_sheet(image_set)


def test_missing_images_are_an_error(tmp_path: Path) -> None:
    image_set = stored(tmp_path, fakes.random_images(2, (3, 8, 8)), np.array([0, 1]), 2)
    with pytest.raises(OSError, match="No such file"):
        preview_sheet(replace(image_set, folder=str(tmp_path / "gone")))
