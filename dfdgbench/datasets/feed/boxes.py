"""Random boxes inside images, as torchvision draws them for random resized crops and random erasing.

What is drawn does not depend on an image's size, so that it can be drawn before the image is decoded; :func:`boxes_of` makes
boxes of it. Nothing here needs torch but a generator's draws, so that worker processes start quickly.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dfdgbench.errors import ConfigError

if TYPE_CHECKING:
    from torch import Generator

ATTEMPTS = 10
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Range = tuple[float, float]


def box_uniforms(count: int, scale: Range, ratio: Range, generator: Generator) -> tuple[Floats, Floats, Floats]:
    """For ``count`` boxes: area as a fraction of the image's and width/height (log-uniform), each [count, 10] for ten attempts, and
    the place of the box in what is left of rows and columns, [2, count], in [0, 1)."""
    import torch

    area, shape = torch.rand((2, count, ATTEMPTS), generator=generator, dtype=torch.float64).numpy()
    place: Floats = torch.rand((2, count), generator=generator, dtype=torch.float64).numpy()
    low, high = math.log(ratio[0]), math.log(ratio[1])
    return scale[0] + (scale[1] - scale[0]) * area, np.exp(low + (high - low) * shape), place


def boxes_of(
    area: Floats,
    aspect: Floats,
    place: Floats,
    heights: Ints | int,
    widths: Ints | int,
    largest: tuple[Ints | int, Ints | int],
) -> tuple[Ints, NDArray[np.bool_]]:
    """Boxes (top, left, height, width in pixels) int64 [B, 4], and where one of the ten attempts fitted, [B].

    Args:
        heights, widths: of the images, each [B] or one for all.
        largest: the highest and the widest box that fits.
    """
    rows, columns = _column(heights), _column(widths)
    pixels = rows * columns * area
    tall, wide = np.rint(np.sqrt(pixels / aspect)), np.rint(np.sqrt(pixels * aspect))
    fits = np.asarray((tall >= 1) & (tall <= _column(largest[0])) & (wide >= 1) & (wide <= _column(largest[1])))
    first = fits.argmax(1)[:, None]
    tall, wide = np.take_along_axis(tall, first, 1)[:, 0], np.take_along_axis(wide, first, 1)[:, 0]
    top, left = np.floor(place[0] * (rows[:, 0] - tall + 1)), np.floor(place[1] * (columns[:, 0] - wide + 1))
    return np.stack((top, left, tall, wide), 1).astype(np.int64), np.asarray(fits.any(1))


def crop_boxes(
    area: Floats, aspect: Floats, place: Floats, ratio: Range, heights: Ints | int, widths: Ints | int
) -> Ints:
    """Boxes int64 [B, 4] of a random resized crop; where no attempt fitted, the largest central box of an allowed ratio."""
    boxes, found = boxes_of(area, aspect, place, heights, widths, (heights, widths))
    rows, columns = _column(heights)[:, 0], _column(widths)[:, 0]
    tall = np.minimum(rows, np.rint(columns / ratio[0]))
    wide = np.minimum(columns, np.rint(rows * ratio[1]))
    central = np.stack(((rows - tall) // 2, (columns - wide) // 2, tall, wide), 1).astype(np.int64)
    return np.where(found[:, None], boxes, np.broadcast_to(central, boxes.shape))


def _column(values: Ints | int) -> Floats:
    return np.asarray(values, dtype=np.float64).reshape(-1, 1)


def require(holds: bool, name: str, given: object, allowed: str, example: object) -> None:
    """``ConfigError`` for an option of an augmentation that is out of its range."""
    if not holds:
        raise ConfigError(f"The augmentation's {name} is {given}. Allowed: {allowed}. Type for example: {example}")
