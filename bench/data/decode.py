"""Encoded images -> one uint8 array (N, channels, height, width)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.config import RequestError

_PER_TASK = 500


def decode_images(
    encoded: Sequence[bytes | Path], shape: tuple[int, int, int], origin: Path, resize: bool = False
) -> NDArray[np.uint8]:
    """Decode in threads (Pillow releases the interpreter's lock) to the given (channels, height, width).

    `origin` is the file that bytes are from, for errors. Without `resize` every image must have this size.

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
                pixels = image.convert("L" if channels == 1 else "RGB")
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
