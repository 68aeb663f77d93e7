"""What a network is trained and tested on."""

from __future__ import annotations

from dataclasses import dataclass

from bench.data.batches import Split
from bench.data.image_set import ImageSet


@dataclass(frozen=True)
class Images:
    """Both splits on the device, and what is needed to make batches of them."""

    image_set: ImageSet
    train: Split
    test: Split
    input_size: tuple[int, int, int]  # of the network: (channels, height, width)
    resize: bool = False  # bring images to that size; otherwise small ones are framed in black
