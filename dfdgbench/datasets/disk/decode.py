"""Decoding image files as DomainBed does, with one sentence for every file that cannot be.

Palette, grey, CMYK and transparent images become RGB as PIL converts them; of an animated one the first frame counts; an EXIF
orientation is *not* applied (DomainBed does not either, so its numbers would differ). Images of 16 bits are scaled to 8, where
PIL would clip them to white.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from dfdgbench.errors import DataError

REPLACE = "Replace it from the original download."


@contextmanager
def decoding(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into a ``DataError`` that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"The image {path} is gone since its folder was listed. See `dfdgbench data status`."
        ) from error
    except PermissionError as error:
        raise DataError(
            f"The image {path} may not be read ({error.strerror}). Give yourself leave to read it."
        ) from error
    except (
        OSError,
        EOFError,
        SyntaxError,
        ValueError,
        OverflowError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        reason = "the file is empty" if _is_empty(path) else str(error) or type(error).__name__
        raise DataError(f"The image {path} cannot be decoded ({reason}). {REPLACE}") from error


def read_rgb(path: str | os.PathLike[str]) -> Image.Image:
    """The image in ``path`` as RGB. Raises ``DataError``."""
    with decoding(path), Image.open(path) as opened:
        return as_rgb(opened)


def as_rgb(image: Image.Image) -> Image.Image:
    """``image`` as RGB of 8 bits."""
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        # Of 16 bits, or (mode I) of more than PIL can tell: the upper byte of those that need two.
        narrow = values >> 8 if image.mode != "I" or values.max(initial=0) > 255 else values
        image = Image.fromarray(narrow.clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def _is_empty(path: str | os.PathLike[str]) -> bool:
    try:
        return os.path.getsize(path) == 0
    except OSError:
        return False
