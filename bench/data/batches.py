"""Batches made on the device: the whole split lies there as bytes; crop, flip and normalisation are batched.

A batch never waits for the host: no image is touched alone, and nothing is copied after the split.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.data.cache import read_array
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
        ValueError: the arrays do not fit each other or the data set's classes, a class has no image, or the limit is
            below one image per class.
        DamagedImages: the arrays are not those that the run was started with.
    """
    images: NDArray[np.uint8] = read_array(image_set, f"{split}_images")
    labels: NDArray[np.int64] = read_array(image_set, f"{split}_labels")
    _check(images, labels, image_set, split)
    if limit is not None and limit < len(labels):
        count = min(limit // len(image_set.classes), int(np.bincount(labels).min()))
        if count < 1:
            raise ValueError(f"a limit of {limit} images leaves none of some of the {len(image_set.classes)} classes")
        rows = _first_of_each_class(labels, count)
        images, labels = images[rows], labels[rows]
    return Split(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))


def first_of_each_class(split: Split, limit: int) -> Split:
    """The first images of each class in the split, as many of each, `limit` of them at most; all if there are no more.

    A class that has fewer gives all of them.
    """
    if len(split.labels) <= limit:
        return split
    labels = split.labels.cpu().numpy()
    rows = _first_of_each_class(labels, max(1, limit // len(np.unique(labels))))
    chosen = torch.from_numpy(rows).to(split.labels.device)
    return Split(split.images[chosen], split.labels[chosen])


class TrainingBatches(Iterator[tuple[Tensor, Tensor]]):
    """Endless (images, labels), always `batch_size` of them: every image once per pass, in random order.

    An image is padded with `crop_padding` black pixels on each side, cropped to its size at a random place,
    and mirrored in one case of two if `flip` is set and the data set allows it. A batch may hold the end of
    one pass and the start of the next. The generator is of the split's device; its seed fixes every batch.
    """

    def __init__(
        self,
        split: Split,
        prepare: Preparation,
        batch_size: int,
        generator: torch.Generator,
        prepared_bytes: int,
        crop_padding: int = 4,
        flip: bool = True,
        by_runs: bool = True,
    ) -> None:
        """Draw nothing yet. Of input, so many bytes are made at once, but never less than a batch.

        Lines are copied as runs of bytes, as a processor does best, or byte by byte.

        Raises:
            ValueError: the batch size is below one.
        """
        if batch_size < 1:
            raise ValueError(f"batch size {batch_size}: must be at least 1")
        device = split.labels.device
        self._labels = split.labels
        self._batch_size = batch_size
        self._generator = generator
        self._offsets = 2 * crop_padding + 1
        self._flip = flip and prepare.mirror_ok
        self._windows = _Windows(split.images, crop_padding, prepare.memory_format, self._flip, by_runs)
        self._prepare = prepare
        self._batches_at_once = max(1, prepared_bytes // (batch_size * prepare.bytes_per_image))
        # What is to come: image, rows down, columns right, mirrored or not; one column per image.
        self._plan = torch.empty(4, 0, dtype=torch.int64, device=device)
        self._taken = 0  # columns of the plan
        self._ready: deque[tuple[Tensor, Tensor]] = deque()

    def __next__(self) -> tuple[Tensor, Tensor]:
        if not self._ready:
            self._make()
        self._taken += self._batch_size
        return self._ready.popleft()

    def state(self) -> dict[str, Tensor]:
        """All that decides the batches to come."""
        return {"plan": self._plan[:, self._taken :].cpu(), "generator": self._generator.get_state()}

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Go on as the batches whose `state` this was, with the same images and settings."""
        self._plan, self._taken = state["plan"].to(self._plan.device), 0
        self._generator.set_state(state["generator"])
        self._ready.clear()

    def _make(self) -> None:
        count = self._batches_at_once * self._batch_size
        while self._plan.shape[1] - self._taken < count:
            self._plan = torch.cat((self._plan[:, self._taken :], self._pass()), 1)
            self._taken = 0
        rows, down, right, mirrored = self._plan[:, self._taken : self._taken + count]
        images = self._prepare(self._windows.crops(rows, down, right, mirrored if self._flip else None))
        labels = self._labels[rows]
        self._ready.extend(zip(images.split(self._batch_size), labels.split(self._batch_size), strict=True))

    def _pass(self) -> Tensor:
        """A plan for every image once. All is drawn whether used or not: a recipe without flips sees the same crops."""
        count, device, generator = len(self._labels), self._labels.device, self._generator
        order = torch.randperm(count, generator=generator, device=device)
        down, right, mirrored = (
            torch.randint(high, (count,), generator=generator, device=device)
            for high in (self._offsets, self._offsets, 2)
        )
        return torch.stack((order, down, right, mirrored))


class Preparation:
    """(x / 255 - mean) / std: uint8 (B, C, H, W) -> (B, *input_size), with its constants on the device once.

    A network that takes larger images gets these centred on black (MNIST's 28 in LeNet-5's 32); black is
    normalised as any other pixel, and an odd row or column goes to the bottom or right. With `resize` they are
    stretched or shrunk instead, as torchvision's Resize does: bilinear, antialiased, to whole numbers.
    """

    def __init__(
        self,
        image_set: ImageSet,
        input_size: tuple[int, int, int],
        device: torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
        resize: bool = False,
    ) -> None:
        """Compute the constants.

        Raises:
            ValueError: the network takes another number of channels, or smaller images and there is no `resize`.
        """
        channels, height, width = image_set.shape
        down, right = input_size[1] - height, input_size[2] - width
        if input_size[0] != channels or (min(down, right) < 0 and not resize):
            raise ValueError(
                f"the network takes {_size(input_size)}, {image_set.name} is {_size(image_set.shape)}: "
                "channels must agree, and images are padded but not resized"
            )
        self.mirror_ok, self.memory_format = image_set.mirror_ok, memory_format
        self.bytes_per_image = math.prod(input_size) * torch.float32.itemsize
        self._size = input_size[1:] if resize and (down or right) else None
        self._pad = (right // 2, right - right // 2, down // 2, down - down // 2) if not resize else (0, 0, 0, 0)
        # One subtraction and one product per pixel.
        grey_levels = 255 * torch.tensor((image_set.mean, image_set.std), dtype=torch.float64)
        self._mean, self._per_std = (
            self._per_channel(values, input_size[2]).float().to(device)
            for values in (grey_levels[0], 1 / grey_levels[1])
        )

    def __call__(self, images: Tensor) -> Tensor:
        if any(self._pad):
            images = F.pad(images, self._pad)
        if self._size is not None:
            images = F.interpolate(images.float(), self._size, mode="bilinear", antialias=True).round_()
        if self.memory_format != torch.channels_last:
            return self._normalised(images.to(torch.float32, memory_format=torch.contiguous_format))
        batch, channels, height, width = images.shape
        lines = images.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
        return self._normalised(lines.float()).view(batch, height, width, channels).permute(0, 3, 1, 2)

    def _normalised(self, images: Tensor) -> Tensor:
        return images.sub_(self._mean).mul_(self._per_std)

    def _per_channel(self, values: Tensor, width: int) -> Tensor:
        """In the shape that a row of an image has in memory: arithmetic over three channels at a time is slow."""
        return values.repeat(width) if self.memory_format == torch.channels_last else values.view(-1, 1, 1)


def _size(size: tuple[int, int, int]) -> str:
    return "x".join(map(str, size))


class _Windows:
    """A padded copy of all images, from which crops are taken as runs of bytes: a crop is one such run per line.

    With `mirror`, all mirrored images follow: turning a crop round costs as much as taking it. Without `by_runs`, there
    is no view of all runs: of CIFAR-10 it has 43 GiB, and MPS copies a view before it takes something from it.
    """

    def __init__(
        self, images: Tensor, padding: int, memory_format: torch.memory_format, mirror: bool, by_runs: bool
    ) -> None:
        self._images, channels, self._height, self._width = images.shape
        self._channels_last = memory_format == torch.channels_last
        self._offsets = 2 * padding
        padded = F.pad(images, (padding,) * 4)
        if mirror:
            padded = torch.cat((padded, padded.flip(3)))
        # A line holds all channels of a row of pixels, or one of them.
        self._planes, self._pixel = (1, channels) if self._channels_last else (channels, 1)
        bytes_ = (padded.permute(0, 2, 3, 1) if self._channels_last else padded).contiguous().view(-1)
        self._lines, self._line = padded.shape[2], padded.shape[3] * self._pixel  # per plane; bytes of one
        run = self._width * self._pixel
        self._bytes, self._run = bytes_, torch.arange(run, device=images.device)
        self._runs = bytes_.as_strided((bytes_.numel() - run + 1, run), (1, 1)) if by_runs else None
        planes = torch.arange(self._planes, device=images.device)[:, None] * self._lines
        lines = torch.arange(self._height, device=images.device)
        self._starts = ((planes + lines) * self._line).flatten()  # of the lines of an image, from its first byte

    def crops(self, rows: Tensor, down: Tensor, right: Tensor, mirrored: Tensor | None) -> Tensor:
        """(B, C, H, W) from images, rows down, columns right, and ones for those to be mirrored, each (B,)."""
        if mirrored is not None:
            rows = rows + self._images * mirrored
            right = torch.where(mirrored.bool(), self._offsets - right, right)  # the same pixels, from the other side
        first = (rows * (self._planes * self._lines) + down) * self._line + right * self._pixel
        starts = (first[:, None] + self._starts).flatten()
        if self._runs is not None:
            images = self._runs.index_select(0, starts)
        else:
            images = self._bytes[starts[:, None] + self._run]
        images = images.view(len(rows), self._planes, self._height, self._width, self._pixel)
        return images.squeeze(1).permute(0, 3, 1, 2) if self._channels_last else images.squeeze(4)


def _check(images: NDArray[np.uint8], labels: NDArray[np.int64], image_set: ImageSet, split: str) -> None:
    """Check that images, labels and classes fit each other.

    Raises:
        ValueError: see `load_split`.
    """
    what = f"{image_set.name}, {split} images"
    if images.shape != (len(labels), *image_set.shape) or images.dtype != np.uint8:
        shape = "x".join(map(str, image_set.shape))
        raise ValueError(f"{what}: {images.dtype} {images.shape} does not fit {len(labels)} labels and {shape} pixels")
    wrong = labels[(labels < 0) | (labels >= len(image_set.classes))]
    if len(wrong):
        raise ValueError(
            f"{what}: label {wrong[0]} is out of range: there are {len(image_set.classes)} classes, from 0"
        )
    missing = set(range(len(image_set.classes))) - set(labels.tolist())
    if missing:
        raise ValueError(f"{what}: no image of class {image_set.classes[min(missing)]!r}")


def _first_of_each_class(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The rows of the first `count` labels of each class, or of all that it has; their order stays."""
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]))
