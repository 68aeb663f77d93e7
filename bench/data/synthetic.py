"""image = noise over (front clutter over (textured shape over (back clutter over textured ground)))

Ten classes, so that the suite trains and ranks networks where no photographs can be had: five shapes, each
striped or checked. What the class does not fix is drawn at random: colours, position, size, tilt, how much
lighter the shape is than its ground, the ground's own stripes or checks, clutter behind and in front, noise.
Neither shape nor texture alone tells the class, and brightness says nothing of it. Three things give a network
something to start from after a few hundred images, as photographs do: shapes stand upright, are lighter than
their ground, and each class keeps to half of all hues (its own half, so that a hue leaves five classes open).

A mirrored image is again one of the same class. Every image has a random stream of its own (Philox,
Salmon et al. 2011, doi:10.1145/2063384.2063405) that its number selects, so image 7 is the same whichever
images are drawn with it. Arithmetic is in double precision: the last bit of a sine differs between
processors, but then practically never changes a rounded pixel.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from bench.config import Track
from bench.data.image_set import Decoded, Labelled, Source

Array = NDArray[np.float64]


def _star(u: Array, v: Array, points: int, outer: float, inner: float) -> Array:
    """Distance to the sides of a star, or of a regular polygon where inner = outer cos(pi / points)."""
    half = np.pi / points
    reach = np.hypot(u, v)
    angle = np.abs(np.mod(np.arctan2(v, u) + half, 2 * half) - half)  # folded onto half a point
    a, b = reach * np.cos(angle), reach * np.sin(angle)
    # The side runs from the tip (outer, 0) to the notch (inner cos(half), inner sin(half)).
    along_a, along_b = inner * np.cos(half) - outer, inner * np.sin(half)
    return ((a - outer) * along_b - b * along_a) / np.hypot(along_a, along_b)


def _box(u: Array, v: Array, half_width: float, half_height: float) -> Array:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


# Signed distance from (u, v) to an outline around 0, below 0 inside. Each encloses pi, so that the area does not
# tell the shapes apart, and is symmetric in v, which lies across: a mirrored shape is one of the opposite tilt.
OUTLINES: dict[str, Callable[[Array, Array], Array]] = {
    "disc": lambda u, v: np.hypot(u, v) - 1,
    "triangle": lambda u, v: _star(u, v, points=3, outer=1.5551, inner=0.7776),
    "square": lambda u, v: _box(u, v, 0.8862, 0.8862),
    "star": lambda u, v: _star(u, v, points=5, outer=1.55, inner=0.6896),
    "cross": lambda u, v: np.minimum(_box(u, v, 1.1889, 0.3963), _box(v, u, 1.1889, 0.3963)),
}
TEXTURES = ("striped", "checked")
CLASSES = tuple(f"{texture} {shape}" for shape in OUTLINES for texture in TEXTURES)

TRAIN_COUNT = 20_000
TEST_COUNT = 4_000
SEED = 0
VERSION = 3  # raise it with any change to the pixels: it is part of the cache key

HUE_SPREAD = 0.25  # of the circle, to either side of a class's own hue

_CHUNK = 250  # images that one thread draws at once
_DRAWS = 96  # random numbers per image, besides its noise


def source(track: Track) -> Source:
    """The synthetic images of a track: 32x32 colour for cifar, 28x28 grey for mnist."""
    grey = track == "mnist"

    def decode() -> Decoded:
        shape = (1, 28, 28) if grey else (3, 32, 32)
        splits = np.split(np.arange(TRAIN_COUNT + TEST_COUNT), [TRAIN_COUNT])
        train, test = (Labelled(draw(numbers, shape, SEED), labels_of(numbers)) for numbers in splits)
        return Decoded("synthetic-mnist" if grey else "synthetic", CLASSES, mirror_ok=True, train=train, test=test)

    return Source(
        description=f"{TRAIN_COUNT + TEST_COUNT:,} images drawn by a program (seed {SEED})",
        identity=(f"synthetic {track} {VERSION} {SEED} {TRAIN_COUNT} {TEST_COUNT}",),
        decode=decode,
    )


def labels_of(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Classes by image number: 0, 1, ... 9, 0, 1, ..."""
    return numbers % len(CLASSES)


def draw(numbers: NDArray[np.int64], shape: tuple[int, int, int], seed: int) -> NDArray[np.uint8]:
    """The images with these numbers, uint8 (N, channels, size, size); `shape` is that of one image."""
    chunks = [numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy releases the interpreter's lock
        return np.concatenate(list(pool.map(lambda chunk: _draw_chunk(chunk, shape, seed), chunks)))


def _draw_chunk(numbers: NDArray[np.int64], shape: tuple[int, int, int], seed: int) -> NDArray[np.uint8]:
    channels, size, _ = shape
    pixels = channels * size * size
    raw = np.stack([_raw(number, seed, _DRAWS + pixels // 4) for number in numbers.tolist()])
    random = _Draws(raw[:, :_DRAWS])
    noise = raw[:, _DRAWS:].view(np.uint16).reshape(-1, *shape)

    labels = labels_of(numbers)[:, None, None]
    unit = size / 32  # lengths below are in pixels of a 32x32 image
    axis = (np.arange(size) + 0.5 - size / 2) / unit
    y, x = np.meshgrid(axis, axis, indexing="ij")

    ground_light = random.uniform(0.2, 0.6)
    contrast = random.uniform(0.15, 0.35)
    pattern = _texture(x, y, random, random.toss())[..., None] * random.tint(channels)
    ground = random.colour(ground_light, channels) + random.uniform(0, 0.05)[..., None] * pattern
    image = _clutter(ground, x, y, random, channels)

    inside = _coverage(_shape_distance(x, y, random, labels // len(TEXTURES)), unit)
    pattern = _texture(x, y, random, labels % len(TEXTURES) == 1)[..., None] * random.tint(channels)
    hue = 2 * np.pi * (labels / len(CLASSES) + random.uniform(-HUE_SPREAD, HUE_SPREAD))
    filled = random.colour(ground_light + contrast, channels, hue) + random.uniform(0.15, 0.3)[..., None] * pattern
    image += inside[..., None] * (filled - image)

    image = _clutter(image, x, y, random, channels)
    strength = random.uniform(0.02, 0.08)[..., None]
    grain = noise.transpose(0, 2, 3, 1) / 65535 - 0.5
    image = np.rint(255 * np.clip(image + 2 * strength * grain, 0, 1))
    return image.transpose(0, 3, 1, 2).astype(np.uint8)


class _Draws:
    """Uniform numbers, the same column for the same purpose in every image: (N, 1, 1) or (N, 1, 1, C)."""

    def __init__(self, raw: NDArray[np.uint64]) -> None:
        self._columns = iter(((raw >> np.uint64(11)) * 2.0**-53).T)

    def uniform(self, low: float, high: float) -> Array:
        return low + (high - low) * next(self._columns)[:, None, None]

    def toss(self) -> NDArray[np.bool_]:
        return self.uniform(0, 1) < 0.5

    def colour(self, lightness: Array, channels: int, hue: Array | None = None) -> Array:
        """A colour of a random or the given hue (radians), whose channels average to `lightness`."""
        if channels == 1:
            return lightness[..., None]
        if hue is None:
            hue = self.uniform(0, 2 * np.pi)
        saturation = self.uniform(0, 0.25)
        thirds = 2 * np.pi / 3 * np.arange(channels)
        return lightness[..., None] + saturation[..., None] * np.cos(hue[..., None] + thirds)

    def tint(self, channels: int) -> Array:
        """The colour direction in which a texture swings: mostly lightness, partly hue."""
        return self.colour(np.ones_like(self.uniform(0, 1)), channels)


def _raw(number: int, seed: int, count: int) -> NDArray[np.uint64]:
    """The stream of one image, as raw words: of those alone numpy promises that they never change."""
    words: NDArray[np.uint64] = np.random.Philox(key=(seed << 64) + number).random_raw(count)
    return words


def _texture(x: Array, y: Array, random: _Draws, checked: NDArray[np.bool_]) -> Array:
    """Stripes or checks in -1..1 with mean 0, soft-edged, at a random angle, period and phase: (N, H, W)."""
    u, v = _turned(x, y, random.uniform(0, 2 * np.pi))
    wave = 2 * np.pi / random.uniform(4.0, 6.5)
    stripes = np.sin(wave * u + random.uniform(0, 2 * np.pi))
    # Checks are longer by sqrt(2) along their sides, so that both textures hold the same frequency.
    second = np.sin(wave / np.sqrt(2) * v + random.uniform(0, 2 * np.pi))
    first = np.sin(wave / np.sqrt(2) * u + random.uniform(0, 2 * np.pi))
    return np.clip(np.where(checked, 2.6 * first * second, 1.5 * stripes), -1, 1)


def _shape_distance(x: Array, y: Array, random: _Draws, shape: NDArray[np.int64]) -> Array:
    """Signed distance to the outline of a shape at a random place, angle and size: (N, H, W)."""
    radius = random.uniform(8.5, 11.5)
    x, y = x - random.uniform(-1.5, 1.5), y - random.uniform(-1.5, 1.5)
    u, v = _turned(x, y, random.uniform(-0.4, 0.4) - np.pi / 2)
    distances = np.empty(np.broadcast_shapes(u.shape, shape.shape))
    for index, outline in enumerate(OUTLINES.values()):
        rows = shape[:, 0, 0] == index
        distances[rows] = outline(u[rows] / radius[rows], v[rows] / radius[rows])
    return distances * radius


def _clutter(image: Array, x: Array, y: Array, random: _Draws, channels: int) -> Array:
    """`image` (N, H, W, C) with a short thick stroke of random colour over it."""
    u, v = _turned(x - random.uniform(-16, 16), y - random.uniform(-16, 16), random.uniform(0, 2 * np.pi))
    length = random.uniform(0.5, 6.0)
    distance = np.hypot(u - np.clip(u, -length, length), v) - random.uniform(0.6, 2.0)
    colour = random.colour(random.uniform(0.15, 0.85), channels)
    return image + _coverage(distance, 1.0)[..., None] * (colour - image)


def _coverage(distance: Array, unit: float) -> Array:
    """Share of a pixel that lies inside, from the signed distance at its centre."""
    return np.clip(0.5 - distance * unit, 0, 1)


def _turned(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
