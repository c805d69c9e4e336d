"""Single images: from a picture to the square of bytes that a network sees, plain or augmented. Nothing here imports torch.

``exact`` does to a picture what DomainBed's transforms do, operation by operation, with PIL. ``fast`` does the same to a stored
image with OpenCV, about ten times as fast; the two agree but for rounding and for how a stored image was shrunk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from dfdgbench.datasets.feed.boxes import Floats, Ints, Range, crop_boxes

Pixels = NDArray[np.uint8]

cv2.setNumThreads(0)  # one image is too little work to share, and workers share a machine's cores already


@dataclass(frozen=True, eq=False)
class Drawing:
    """What is done to each of B images, drawn before their sizes are known.

    Attributes:
        area, aspect: of the crop, [B, 10] for ten attempts: fraction of the image's area, width over height.
        place: where the crop lies, in what it leaves of rows and of columns, [2, B] in [0, 1).
        ratio: the range that ``aspect`` was drawn from.
        flip: bool [B], whether the image is mirrored.
        order: [B, 4], the order of brightness 0, contrast 1, saturation 2 and hue 3.
        factors: [3, B], of brightness, contrast and saturation.
        turn: [B], of the hue, as a fraction of the full circle.
        grey: bool [B], whether the colours are dropped.
        squashed: whether the crop is a square's, into which the image was squashed.
    """

    area: Floats
    aspect: Floats
    place: Floats
    ratio: Range
    flip: NDArray[np.bool_]
    order: Ints
    factors: NDArray[np.float32]
    turn: NDArray[np.float32]
    grey: NDArray[np.bool_]
    squashed: bool = False

    def __len__(self) -> int:
        return len(self.flip)

    def rows(self, start: int, stop: int) -> Drawing:
        """What is done to images ``start`` to ``stop - 1``."""
        last = {"place", "factors"}  # the images are their last axis
        cut = {
            field.name: getattr(self, field.name)[..., start:stop]
            if field.name in last
            else getattr(self, field.name)[start:stop]
            for field in fields(self)
            if field.name not in ("ratio", "squashed")
        }
        return replace(self, **cut)

    def boxes(self, heights: Ints | int, widths: Ints | int) -> Ints:
        """Top, left, height and width of the crops in pixels of images of these sizes, int64 [B, 4]."""
        aspect = self.aspect
        if self.squashed:
            stretched = np.asarray(widths, dtype=np.float64) / np.asarray(heights, dtype=np.float64)
            aspect = aspect * stretched.reshape(-1, 1)
        return crop_boxes(self.area, aspect, self.place, self.ratio, heights, widths)


def plain(image: Image.Image, height: int, width: int) -> Pixels:
    """``image`` stretched to ``height`` x ``width``, bilinear, antialiased; as it is where it has that size.

    Returns uint8 [height, width, C].
    """
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return _channels(np.asarray(image))


def exact(image: Image.Image, drawn: Drawing, index: int, size: int) -> Pixels:
    """``drawn`` done to one picture as torchvision does it to PIL images: uint8 [size, size, 3]."""
    one = drawn.rows(index, index + 1)
    top, left, height, width = one.boxes(image.height, image.width)[0].tolist()
    image = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
    if one.flip[0]:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for step in one.order[0].tolist():
        image = _EXACT[step](image, one)
    if one.grey[0]:
        image = image.convert("L").convert("RGB")
    return np.asarray(image)


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance], which: int) -> Callable[..., Image.Image]:
    def enhance(image: Image.Image, one: Drawing) -> Image.Image:
        factor = float(one.factors[which, 0])
        return image if factor == 1 else kind(image).enhance(factor)

    return enhance


def _turned(image: Image.Image, one: Drawing) -> Image.Image:
    shift = int(float(one.turn[0]) * 255)
    if not one.turn[0]:
        return image
    hue, saturation, value = image.convert("HSV").split()
    hue = Image.fromarray(np.asarray(hue) + np.array(shift % 256, dtype=np.uint8))
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


_EXACT: tuple[Callable[[Image.Image, Drawing], Image.Image], ...] = (
    _enhanced(ImageEnhance.Brightness, 0),
    _enhanced(ImageEnhance.Contrast, 1),
    _enhanced(ImageEnhance.Color, 2),
    _turned,
)


def fast(image: Pixels, box: Ints, drawn: Drawing, index: int, size: int) -> Pixels:
    """``drawn`` done to one stored image: uint8 [size, size, 3].

    Args:
        image: uint8 [H, W, 3].
        box: top, left, height and width of the crop, in pixels of ``image``.
    """
    top, left, height, width = box.tolist()
    cut = image[top : top + height, left : left + width]
    made = _bytes(cv2.resize(cut, (size, size), interpolation=cv2.INTER_LINEAR))
    if drawn.flip[index]:
        made = _bytes(cv2.flip(made, 1))
    for step in drawn.order[index].tolist():
        made = _fast_step(made, step, drawn, index)
    return _grey(made) if drawn.grey[index] else made


def _fast_step(image: Pixels, step: int, drawn: Drawing, index: int) -> Pixels:
    if step == 3:
        return _fast_turned(image, float(drawn.turn[index]))
    factor = float(drawn.factors[step, index])
    if factor == 1:
        return image
    if step == 2:
        return _bytes(cv2.addWeighted(image, factor, _grey(image), 1 - factor, 0))
    base = 0.0
    if step == 1:
        base = np.floor(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] + 0.5)
    table = (_LEVELS * factor + (1 - factor) * base).clip(0, 255).astype(np.uint8)
    return _bytes(cv2.LUT(image, table))


_LEVELS = np.arange(256, dtype=np.float64)
_SAME = np.arange(256, dtype=np.uint8)


def _fast_turned(image: Pixels, turn: float) -> Pixels:
    if not turn:
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    table = np.stack([_SAME + np.array(int(turn * 255) % 256, dtype=np.uint8), _SAME, _SAME], axis=-1)
    return _bytes(cv2.cvtColor(cv2.LUT(hsv, table[None]), cv2.COLOR_HSV2RGB_FULL))


def _grey(image: Pixels) -> Pixels:
    return _bytes(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def _bytes(image: Any) -> Pixels:
    """OpenCV's own types say less than is known: bytes in, bytes out."""
    made: Pixels = image
    return made


def _channels(image: Pixels) -> Pixels:
    return image[..., None] if image.ndim == 2 else image
