"""Batches made on the device: the whole split lies there as bytes; crop, flip and normalisation are batched.

A batch never waits for the host: no image is touched alone, and nothing is copied after the split.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.data.image_set import ImageSet


@dataclass(frozen=True, eq=False)
class Split:
    """Training or test images on one device."""

    images: Tensor  # (N, C, H, W), uint8
    labels: Tensor  # (N,), int64


def load_split(
    image_set: ImageSet, split: Literal["train", "test"], device: torch.device, limit: int | None = None
) -> Split:
    """A split on a device; with `limit`, only the first `limit // classes` images of every class.

    Their order stays. Where a class has fewer, every class gives as many as that one. A limit not below the
    number of images has no effect.

    Raises:
        ValueError: the limit is below one image per class.
    """
    folder = Path(image_set.folder)
    images: NDArray[np.uint8] = np.load(folder / f"{split}_images.npy", mmap_mode="r")
    labels: NDArray[np.int64] = np.load(folder / f"{split}_labels.npy")
    if limit is not None and limit < len(labels):
        rows = _balanced(labels, len(image_set.classes), limit)
        images, labels = images[rows], labels[rows]
    # np.array copies: torch would keep the memory-mapped file, which cannot be written, and warn about it.
    return Split(torch.from_numpy(np.array(images)).to(device), torch.from_numpy(labels).to(device))


def normalise(
    images: Tensor,
    image_set: ImageSet,
    input_size: tuple[int, int, int],
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """(x / 255 - mean) / std: uint8 (B, C, H, W) -> (B, *input_size).

    A network that takes larger images gets these centred on black (MNIST's 28 in LeNet-5's 32); black is
    normalised as any other pixel. An odd row or column goes to the bottom or right.

    Raises:
        ValueError: the network takes another number of channels, or smaller images.
    """
    return _Normalise(image_set, input_size, images.device, dtype, memory_format)(images)


def training_batches(
    split: Split,
    image_set: ImageSet,
    input_size: tuple[int, int, int],
    batch_size: int,
    generator: torch.Generator,
    crop_padding: int = 4,
    flip: bool = True,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (images, labels), always `batch_size` of them: every image once per pass, in random order.

    An image is padded with `crop_padding` black pixels on each side, cropped to its size at a random place,
    and mirrored in one case of two if `flip` is set and the data set allows it. A batch may hold the end of
    one pass and the start of the next. The generator is of the split's device; its seed fixes every batch.

    Raises:
        ValueError: as `normalise`, at the first batch; or the batch size is below one.
    """
    if batch_size < 1:
        raise ValueError(f"batch size {batch_size}: must be at least 1")
    count, device = len(split.labels), split.labels.device
    to_input = _Normalise(image_set, input_size, device, dtype, memory_format)
    order = torch.empty(0, dtype=torch.int64, device=device)
    while True:
        while len(order) < batch_size:
            order = torch.cat((order, torch.randperm(count, generator=generator, device=device)))
        rows, order = order[:batch_size], order[batch_size:]
        images = _cropped_and_flipped(split.images[rows], generator, crop_padding, flip and image_set.mirror_ok)
        yield to_input(images), split.labels[rows]


def evaluation_batches(
    split: Split,
    image_set: ImageSet,
    input_size: tuple[int, int, int],
    batch_size: int,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Iterator[tuple[Tensor, Tensor]]:
    """(images, labels) of the whole split once, in its order; the last batch may be smaller.

    Raises:
        ValueError: as `normalise`.
    """
    to_input = _Normalise(image_set, input_size, split.labels.device, dtype, memory_format)
    for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True):
        yield to_input(images), labels


class _Normalise:
    """What `normalise` does, with its constants on the device once."""

    def __init__(
        self,
        image_set: ImageSet,
        input_size: tuple[int, int, int],
        device: torch.device,
        dtype: torch.dtype,
        memory_format: torch.memory_format,
    ) -> None:
        channels, height, width = image_set.shape
        down, right = input_size[1] - height, input_size[2] - width
        if input_size[0] != channels or down < 0 or right < 0:
            raise ValueError(
                f"the network takes {_size(input_size)}, {image_set.name} is {_size(image_set.shape)}: "
                "channels must agree, and images are padded but not resized"
            )
        self.pad = (right // 2, right - right // 2, down // 2, down - down // 2)
        self.mean = torch.tensor(image_set.mean, device=device).view(-1, 1, 1)
        self.std = torch.tensor(image_set.std, device=device).view(-1, 1, 1)
        self.dtype = dtype
        self.memory_format = memory_format

    def __call__(self, images: Tensor) -> Tensor:
        if any(self.pad):
            images = F.pad(images, self.pad)
        scaled = images.to(torch.float32, memory_format=self.memory_format).div_(255)
        return scaled.sub_(self.mean).div_(self.std).to(self.dtype)


def _cropped_and_flipped(images: Tensor, generator: torch.Generator, padding: int, flip: bool) -> Tensor:
    """One random offset and one toss per image, applied to all by a single gather."""
    batch, channels, height, width = images.shape
    device = images.device
    # Drawn whether used or not: a recipe without flips sees the same crops.
    down = torch.randint(2 * padding + 1, (batch, 1), generator=generator, device=device)
    right = torch.randint(2 * padding + 1, (batch, 1), generator=generator, device=device)
    mirrored = torch.randint(2, (batch, 1), generator=generator, device=device).bool()
    if not padding and not flip:
        return images
    y = down + torch.arange(height, device=device)
    x = torch.arange(width, device=device).expand(batch, width)
    if flip:
        x = torch.where(mirrored, width - 1 - x, x)
    pixel = y[:, :, None] * (width + 2 * padding) + (right + x)[:, None, :]
    source = F.pad(images, (padding,) * 4).flatten(2)
    return source.gather(2, pixel.view(batch, 1, -1).expand(-1, channels, -1)).view(images.shape)


def _balanced(labels: NDArray[np.int64], classes: int, limit: int) -> NDArray[np.int64]:
    of_class = [np.flatnonzero(labels == label) for label in range(classes)]
    count = min(limit // classes, *map(len, of_class))
    if count < 1:
        raise ValueError(f"a limit of {limit} images leaves none of some of the {classes} classes")
    return np.sort(np.concatenate([rows[:count] for rows in of_class]))


def _size(size: tuple[int, int, int]) -> str:
    return "x".join(map(str, size))
