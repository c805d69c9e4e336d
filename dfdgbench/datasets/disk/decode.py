"""Decoding image files as DomainBed does, with one sentence for every file that cannot be.

Palette, grey, CMYK and transparent images become RGB as PIL converts them; of an animated one the first frame counts; an EXIF
orientation is *not* applied (DomainBed does not either, so its numbers would differ), but for that of a TIFF, which PIL applies
by itself. Images of 16 bits are scaled to 8, where PIL would clip them to white.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from dfdgbench.errors import DataError

REPLACE = "Replace it from the original download."
# What PIL's decoders raise on damaged files besides OSError: whatever the bytes happen to cause.
_DAMAGED = (
    EOFError,
    RuntimeError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_PAGE = (b"<!doctype", b"<html", b"<?xml")
_POINTER = b"version https://git-lfs"


@contextmanager
def decoding(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into a ``DataError`` that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(_gone(path)) from error
    except PermissionError as error:
        raise DataError(
            f"The image {path} may not be read ({error.strerror}). Give yourself leave to read it: chmod u+r '{path}'"
        ) from error
    except (OSError, *_DAMAGED) as error:
        raise DataError(f"The image {path} cannot be decoded ({_reason(path, error)}). {REPLACE}") from error


def read_rgb(path: str | os.PathLike[str]) -> Image.Image:
    """The image in ``path`` as RGB. Raises ``DataError``."""
    with decoding(path), Image.open(regular(path)) as opened:
        return as_rgb(opened)


def regular(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """``path``, unless it is a named pipe, which to open would wait for ever, or the like: that is a ``ValueError``."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # of a folder, open tells by itself
        raise ValueError("it is no file")
    return path


def as_rgb(image: Image.Image) -> Image.Image:
    """``image`` as RGB of 8 bits."""
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        # Of 16 bits, or (mode I) of more than PIL can tell: the upper byte of those that need two.
        narrow = values >> 8 if image.mode != "I" or values.max(initial=0) > 255 else values
        image = Image.fromarray(narrow.clip(0, 255).astype(np.uint8))
    image.load()
    image.info.pop("transparency", None)  # changes no pixel of the result, but PIL would warn of it
    return image.convert("RGB")


def _gone(path: str | os.PathLike[str]) -> str:
    if os.path.islink(path):
        return f"The image {path} is a link to {os.readlink(path)}, which does not exist. Put that back, or remove the link."
    return f"The image {path} is gone since its folder was listed. See `dfdgbench data status`."


def _reason(path: str | os.PathLike[str], error: Exception) -> str:
    """What is the matter with a file, where its first bytes say so better than the decoder."""
    try:
        with open(regular(path), "rb") as file:
            first = file.read(64)
    except (OSError, ValueError):
        return str(error) or type(error).__name__
    if not first:
        return "the file is empty"
    if first.lstrip().lower().startswith(_PAGE):
        return "it is a web page: a download that failed"
    if first.startswith(_POINTER):
        return "it is Git LFS's pointer to the file: type git lfs pull"
    if isinstance(error, UnidentifiedImageError):
        return "it is not of a known image format, whatever its name says"
    return str(error) or type(error).__name__
