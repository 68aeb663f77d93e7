"""What the images of a data set look like: one of each class, with its name."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

from bench.render.charts.figure import Chart, add_axes, look, new_figure, printable, save_png, save_svg, write_title
from bench.render.results.image_grid import DataSet

_COLUMNS = 5
_TILE, _GAP, _NAME = 124.0, 14.0, 18.0  # points
_LEFT, _TOP, _BOTTOM = 16.0, 50.0, 8.0


def sample_chart(data_set: DataSet, stem: str) -> Chart | None:
    """A grid of images; None where the run kept none, or they are damaged."""
    tiles = _tiles(data_set)
    if not tiles:
        return None
    rows = math.ceil(len(tiles) / _COLUMNS)
    height = _TOP + rows * (_TILE + _NAME + _GAP) + _BOTTOM
    width = 2 * _LEFT + _COLUMNS * _TILE + (_COLUMNS - 1) * _GAP
    title = f"What {data_set.name} looks like"
    size = "×".join(map(str, tiles[0].shape[:2]))
    with look():
        figure = new_figure(width, height)
        write_title(figure, title, f"the first training image of each class, {size} pixels")
        for place, tile in enumerate(tiles):
            row, column = divmod(place, _COLUMNS)
            bottom = height - _TOP - _NAME - (row + 1) * _TILE - row * (_NAME + _GAP)
            axes = add_axes(figure, _LEFT + column * (_TILE + _GAP), bottom, _TILE, _TILE)
            axes.set_axis_off()
            axes.imshow(tile, cmap="gray", vmin=0, vmax=255, interpolation="none")
            axes.set_title(printable(data_set.classes[place], 18), size=8.5, pad=4)
        shown = data_set.classes[: len(tiles)]
        others = len(data_set.classes) - len(shown)
        return Chart(
            name=f"{stem}-samples",
            kind="samples",
            track=data_set.track,
            title=title,
            alt=f"Training images of {data_set.name}, one of each of {len(shown)} classes: {', '.join(shown)}.",
            caption=f"{others} more classes are not shown." if others else "",
            svg=save_svg(figure),
            png=save_png(figure),
        )


def _tiles(data_set: DataSet) -> list[np.ndarray]:
    """The images of a sheet, as many as fit it and have a class: (H, W) or (H, W, 3), uint8."""
    if not data_set.sheet:
        return []
    try:
        with Image.open(io.BytesIO(data_set.sheet)) as sheet:
            pixels = np.asarray(sheet)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # Pillow's word for a broken PNG
        return []
    side = pixels.shape[0]  # images are square
    count = min(pixels.shape[1] // side, len(data_set.classes))
    return [pixels[:, place * side : (place + 1) * side] for place in range(count)]
