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
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

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
                pixels = _of_8_bits(image).convert("L" if channels == 1 else "RGB")
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
