"""What worker processes find out about single files, each read once: content hash, size, and what is unusual about it."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from dfdgbench.datasets.disk.decode import as_rgb, decoding, regular
from dfdgbench.errors import DataError

ORIENTATION = 0x0112
UPRIGHT = (None, 1)
TURNED = "TIFF"
"""The one format whose orientation PIL applies by itself."""

ROTATED, ANIMATED, DEEP, FLOAT, CMYK, PALETTE, TRANSPARENT, GREY = (
    "rotated", "animated", "16-bit", "float", "CMYK", "palette", "transparent", "grey",
)  # fmt: skip
_OF_MODE = {
    "1": GREY, "L": GREY, "LA": GREY, "La": GREY, "P": PALETTE, "PA": PALETTE, "CMYK": CMYK, "F": FLOAT, "I": DEEP,
}  # fmt: skip
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


@dataclass(frozen=True)
class Examined:
    """What was found out about an image or a mask.

    Attributes:
        digest: SHA-256 of the file's bytes, b"" where it cannot be read.
        size: width and height in pixels, None where it cannot be decoded.
        remarks: what is unusual.
        error: what is the matter, a sentence with the file's name; "" where nothing is.
        labels: of a mask, pixels by class index.
    """

    digest: bytes
    size: tuple[int, int] | None = None
    remarks: tuple[str, ...] = ()
    error: str = ""
    labels: tuple[tuple[int, int], ...] = ()


def examine_images(paths: Sequence[str]) -> list[Examined]:
    """What each of the image files ``paths`` is; every one is decoded to its last pixel."""
    return [_image(path) for path in paths]


def examine_masks(task: tuple[Callable[[str], NDArray[np.uint8]], Sequence[str]]) -> list[Examined]:
    """What each of some masks is, given the function that reads one, and their files."""
    read, paths = task
    return [_mask(read, path) for path in paths]


def _image(path: str) -> Examined:
    digest = b""
    try:
        with _quiet(), decoding(path):
            with open(regular(path), "rb") as file:
                content = file.read()
            digest = hashlib.sha256(content).digest()
            with Image.open(io.BytesIO(content)) as opened:
                remarks = tuple(_remarks(opened))
                size = as_rgb(opened).size
    except DataError as error:
        return Examined(digest, error=str(error))
    return Examined(digest, size, remarks)


def _mask(read: Callable[[str], NDArray[np.uint8]], path: str) -> Examined:
    digest = b""
    try:
        with _quiet(), decoding(path):
            with open(path, "rb") as file:
                digest = hashlib.sha256(file.read()).digest()
            mask = read(path)
    except DataError as error:
        return Examined(digest, error=str(error))
    values, counts = np.unique(mask, return_counts=True)
    height, width = mask.shape
    return Examined(digest, (width, height), labels=tuple(zip(values.tolist(), counts.tolist(), strict=True)))


def _remarks(image: Image.Image) -> Iterator[str]:
    """What is unusual about an image that is open and not yet decoded."""
    # First, for looking for the orientation decodes some formats, and the tiles are gone then.
    if image.mode.startswith("I;16") or _is_deep(image):
        yield DEEP
    elif image.mode in _OF_MODE:
        yield _OF_MODE[image.mode]
    if image.format != TURNED and image.getexif().get(ORIENTATION) not in UPRIGHT:
        yield ROTATED
    if getattr(image, "is_animated", False):
        yield ANIMATED
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        yield TRANSPARENT


def _is_deep(image: Image.Image) -> bool:
    """Whether PIL is about to drop the lower byte of channels of 16 bits, which the mode does not tell."""
    return isinstance(image, ImageFile) and any("16" in str(tile[3]) for tile in image.tile)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged metadata, of sizes, of palettes: the pixels are what counts
        yield
