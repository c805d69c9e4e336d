"""Readers of the file formats digit datasets are published in.

Each reader returns plain arrays and refuses a file that is cut short, naming it: a half download must not become a
smaller dataset. Pixels are uint8, labels int64.
"""

from __future__ import annotations

import bz2
import gzip
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dfdgbench.datasets.base import Labels
from dfdgbench.errors import DataError, MissingDataError, missing_extra

Pixels = NDArray[np.uint8]

AGAIN = "Download it again."


def locate(root: Path, what: str, candidates: Iterable[str]) -> Path:
    """The first of ``candidates`` (paths below ``root``) that is a file.

    Raises:
        MissingDataError: none does; the message lists every place looked at.
    """
    every = list(candidates)
    for candidate in every:
        if (root / candidate).is_file():
            return root / candidate
    raise MissingDataError(f"{what} was not found below {root}. Looked for: {', '.join(every)}.")


def read_bytes(path: Path) -> bytes:
    """The content of ``path``, unpacked where it ends in ``.gz`` or ``.bz2``."""
    openers: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.decompress, ".bz2": bz2.decompress}
    try:
        content = path.read_bytes()
        return openers.get(path.suffix, bytes)(content)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"The file {path} cannot be read ({error}). {AGAIN}") from error


def read_idx(path: Path) -> Pixels:
    """An array of unsigned bytes in MNIST's idx format, packed with gzip or not.

    The header is two zero bytes, the type (8 for unsigned bytes), the number of axes, and each axis' length as a
    big-endian 32-bit number; exactly their product of bytes must follow.
    """
    content = read_bytes(path)
    if len(content) < 4 or content[:3] != b"\0\0\x08" or content[3] == 0:
        raise DataError(f"The file {path} is no idx file of unsigned bytes: it begins with {content[:4]!r}. {AGAIN}")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], dtype=">u4").tolist() if len(content) >= start else []
    expected = start + math.prod(shape)
    if len(content) < start or len(content) != expected:
        state = "is truncated" if len(content) < expected else "is too long"
        raise DataError(f"The file {path} {state}: it holds {len(content)} bytes, its header says {expected}. {AGAIN}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def read_svhn(path: Path) -> tuple[Pixels, Labels]:
    """SVHN's cropped digits ("format 2"), a MATLAB 5 file with ``X`` uint8 [32, 32, 3, N] and ``y`` [N, 1].

    Label 10 is the digit 0. Returns images [N, 32, 32, 3] and labels [N].
    """
    from scipy.io import loadmat

    try:
        content = loadmat(path)
        images, labels = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)
    except Exception as error:  # the parser fails on a damaged file with whatever its bytes happen to cause
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"The file {path} cannot be read as SVHN's MATLAB file ({reason}). {AGAIN}") from error
    if images.ndim != 4 or images.shape[2] != 3 or images.dtype != np.uint8 or images.shape[3] != len(labels):
        raise DataError(
            f"The file {path} holds X {images.dtype} {list(images.shape)} and y {list(labels.shape)}; SVHN's format 2 "
            "is X uint8 [32, 32, 3, N] and y [N, 1]. Take train_32x32.mat and test_32x32.mat."
        )
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels.astype(np.int64) % 10


def read_usps_text(path: Path) -> tuple[Pixels, Labels]:
    """USPS in libsvm's text format, packed with bzip2 or not: ``label index:value ...``.

    Labels 1..10 are the digits 0..9, indices 1..256 the pixels of 16 rows, values in [-1, 1]; an absent pixel is 0.
    Returns images [N, 16, 16] and labels [N].
    """
    lines = read_bytes(path).decode("ascii", errors="replace").splitlines()
    values = np.zeros((len(lines), 256), dtype=np.float64)
    labels = np.zeros(len(lines), dtype=np.int64)
    for row, line in enumerate(lines):
        try:
            label, *cells = line.split()
            labels[row] = int(float(label)) - 1
            for cell in cells:
                index, value = cell.split(":")
                values[row, int(index) - 1] = float(value)
        except (ValueError, IndexError) as error:
            raise DataError(f"The file {path} is not libsvm text in line {row + 1} ({error}). {AGAIN}") from error
    return as_bytes(path, (values + 1) / 2, labels)


def read_usps_h5(path: Path) -> dict[str, tuple[Pixels, Labels]]:
    """USPS as ``usps.h5``: groups ``train`` and ``test`` with ``data`` [N, 256] in [0, 1] and ``target`` [N].

    Returns, for each of the two groups, images [N, 16, 16] and labels [N].
    """
    try:
        import h5py
    except ImportError as error:
        raise missing_extra("h5py", "data", f"Reading {path}") from error
    parts = {}
    try:
        with h5py.File(path, "r") as opened:
            for part in ("train", "test"):
                values = np.asarray(opened[part]["data"], dtype=np.float64)
                parts[part] = (values, np.asarray(opened[part]["target"]).astype(np.int64))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"The file {path} cannot be read as USPS's HDF5 file ({error}). {AGAIN}") from error
    return {part: as_bytes(path, values, labels) for part, (values, labels) in parts.items()}


def as_bytes(path: Path, values: NDArray[np.float64], labels: Labels) -> tuple[Pixels, Labels]:
    """Images uint8 [N, 16, 16] from grey values [N, 256] in [0, 1], with their labels checked to be digits."""
    fits = values.ndim == 2 and values.shape[1] == 256 and len(values) == len(labels) > 0
    if not fits or values.min() < -1e-6 or values.max() > 1 + 1e-6 or labels.min() < 0 or labels.max() > 9:
        raise DataError(f"The file {path} does not hold USPS digits: 256 grey values and one label an image. {AGAIN}")
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8).reshape(-1, 16, 16), labels


def read_listed_images(folder: Path, listing: Path, size: int) -> tuple[Pixels, Labels]:
    """Images of ``folder`` named by ``listing``, whose lines are ``file label``, in its order.

    Returns images [N, size, size, 3] and labels [N].
    """
    try:
        rows = [line.split() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
        labels = np.array([int(label) for _, label in rows], dtype=np.int64)
    except (OSError, ValueError) as error:
        raise DataError(f"The file {listing} is not a list of 'file label' lines ({error}). {AGAIN}") from error
    images = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    for row, (file, _) in enumerate(rows):
        try:
            with Image.open(folder / file) as opened:
                images[row] = np.asarray(fitted(opened.convert("RGB"), size))
        except (OSError, EOFError, UnidentifiedImageError, SyntaxError, ValueError) as error:
            raise DataError(f"The image {folder / file} of {listing.name} cannot be read ({error}). {AGAIN}") from error
    return images, labels


def fitted(image: Image.Image, size: int) -> Image.Image:
    """``image`` stretched bilinearly to a square of ``size`` pixels; as it is where it has that size."""
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)


def as_rgb(images: Pixels, size: int) -> Pixels:
    """Images [N, H, W] or [N, H, W, 3] as [N, size, size, 3]: grey repeated three times, resized bilinearly."""
    resized: Sequence[Pixels] | Pixels = images
    if images.shape[1:3] != (size, size):
        resized = [np.asarray(fitted(Image.fromarray(image), size)) for image in images]
    stacked = np.asarray(resized, dtype=np.uint8).reshape(len(images), size, size, -1)
    return np.ascontiguousarray(np.broadcast_to(stacked, (len(images), size, size, 3)))
