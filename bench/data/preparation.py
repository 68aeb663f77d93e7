"""From stored bytes to what a network takes: the right size, then normalised."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.data.image_set import ImageSet


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
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
        resize: bool = False,
    ) -> None:
        """
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
        self.memory_format = memory_format
        self.bytes_per_image = input_size[0] * input_size[1] * input_size[2] * dtype.itemsize
        self._dtype = dtype
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
        return images.sub_(self._mean).mul_(self._per_std).to(self._dtype)

    def _per_channel(self, values: Tensor, width: int) -> Tensor:
        """In the shape that a row of an image has in memory: arithmetic over three channels at a time is slow."""
        return values.repeat(width) if self.memory_format == torch.channels_last else values.view(-1, 1, 1)


def _size(size: tuple[int, int, int]) -> str:
    return "x".join(map(str, size))
