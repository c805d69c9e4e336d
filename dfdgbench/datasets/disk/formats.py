"""Readers of the file formats small-image datasets are published in.

Each reader returns plain arrays and refuses a file that is cut short, naming it: a half download must not become a
smaller dataset. Pixels are uint8, labels int64.
"""

from __future__ import annotations

import bz2
import gzip
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfdgbench.datasets.disk.decode import REPLACE, decoding, read_rgb
from dfdgbench.datasets.disk.parts import AGAIN, Part, Pixels
from dfdgbench.datasets.disk.scan import class_folders, files_in, images_below
from dfdgbench.datasets.domains import Labels
from dfdgbench.errors import DataError, MissingDataError, missing_extra

DIGITS = tuple("0123456789")
CIFAR_ROW = 1 + 3 * 32 * 32

Taken = TypeVar("Taken")


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


def read_bytes(path: Path, most: int = -1) -> bytes:
    """The content of ``path``, or its first ``most`` bytes, unpacked where it ends in ``.gz`` or ``.bz2``."""
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
    try:
        with openers.get(path.suffix, open)(path, "rb") as file:
            return bytes(file.read(most))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"The file {path} cannot be read ({error}). {AGAIN}") from error


def idx_header(path: Path, content: bytes) -> tuple[int, list[int]]:
    """Where the values of an idx file begin, and its shape, from its first bytes; ``DataError`` where it is none."""
    if len(content) < 4 or content[:3] != b"\0\0\x08" or content[3] == 0:
        raise DataError(f"The file {path} is no idx file of unsigned bytes: it begins with {content[:4]!r}. {AGAIN}")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"The file {path} is truncated: its header of {start} bytes ends after {len(content)}. {AGAIN}")
    return start, np.frombuffer(content[4:start], dtype=">u4").tolist()


def read_idx(path: Path) -> Pixels:
    """An array of unsigned bytes in MNIST's idx format, packed with gzip or not.

    The header is two zero bytes, the type (8 for unsigned bytes), the number of axes, and each axis' length as a
    big-endian 32-bit number; exactly their product of bytes must follow.
    """
    content = read_bytes(path)
    start, shape = idx_header(path, content)
    expected = start + math.prod(shape)
    if len(content) != expected:
        state = "is truncated" if len(content) < expected else "is too long"
        raise DataError(f"The file {path} {state}: it holds {len(content)} bytes, its header says {expected}. {AGAIN}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def read_digit_tree(folder: Path, side: int) -> Part:
    """Grey digits kept as image files ``DIGIT/NUMBER.png``, in the order of the numbers, which is MNIST's own.

    Returns images [N, side, side] and labels [N].
    """
    class_folders(folder, folder.name, DIGITS)
    found: dict[int, tuple[int, str]] = {}
    for label, digit in enumerate(DIGITS):
        for file in images_below(folder / digit):
            stem = file.rpartition(".")[0]
            if not stem.isdecimal() or int(stem) in found:
                given = "is numbered as another is" if stem.isdecimal() else "has no number for a name"
                raise DataError(f"The image {folder / digit / file} {given}; files are DIGIT/NUMBER.png. {REPLACE}")
            found[int(stem)] = (label, f"{digit}/{file}")
    numbers = sorted(found)
    missing = next((after - 1 for before, after in pairwise(numbers) if after != before + 1), None)
    if missing is not None:
        raise DataError(f"The folder {folder} holds {len(found)} images, and none of them is number {missing}. {AGAIN}")
    images = np.empty((len(found), side, side), dtype=np.uint8)
    labels = np.empty(len(found), dtype=np.int64)
    for row, number in enumerate(numbers):
        labels[row], file = found[number]
        with decoding(folder / file), Image.open(folder / file) as opened:
            if opened.size != (side, side):
                raise DataError(f"The image {folder / file} is {opened.size}; all are {side} x {side}. {REPLACE}")
            images[row] = np.asarray(opened if opened.mode == "L" else opened.convert("L"))
    return images, labels


def read_cifar(path: Path, rows: int) -> Part:
    """One file of CIFAR-10's binary version: ``rows`` of a label and 1,024 red, 1,024 green and 1,024 blue bytes.

    Returns images [rows, 32, 32, 3] and labels [rows].
    """
    content = read_bytes(path)
    check_cifar_size(path, len(content), rows)
    table = np.frombuffer(content, dtype=np.uint8).reshape(rows, CIFAR_ROW)
    if table[:, 0].max(initial=0) > 9:
        raise DataError(f"The file {path} is not CIFAR-10's binary version: a label is {table[:, 0].max()}. {AGAIN}")
    planes = table[:, 1:].reshape(rows, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), table[:, 0].astype(np.int64)


def check_cifar_size(path: Path, size: int, rows: int) -> None:
    """Check that ``size`` bytes are ``rows`` images of CIFAR-10's binary version."""
    if size != rows * CIFAR_ROW:
        raise DataError(
            f"The file {path} holds {size} bytes; {rows} images of {CIFAR_ROW} bytes are {rows * CIFAR_ROW}. {AGAIN}"
        )


def read_svhn(path: Path) -> Part:
    """SVHN's cropped digits ("format 2"), a MATLAB 5 file with ``X`` uint8 [32, 32, 3, N] and ``y`` [N, 1].

    Label 10 is the digit 0. Returns images [N, 32, 32, 3] and labels [N].
    """
    from scipy.io import loadmat

    with reading_svhn(path):
        content = loadmat(path)
        images, labels = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)
    check_svhn(path, str(images.dtype), images.shape, len(labels))
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels.astype(np.int64) % 10


@contextmanager
def reading_svhn(path: Path) -> Iterator[None]:
    """Turn whatever a parser of MATLAB files raises into a ``DataError`` that names the file."""
    try:
        yield
    except Exception as error:  # the parser fails on a damaged file with whatever its bytes happen to cause
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"The file {path} cannot be read as SVHN's MATLAB file ({reason}). {AGAIN}") from error


def check_svhn(path: Path, kind: str, shape: Sequence[int], labels: int) -> None:
    """Check that an array ``X`` of numbers of this kind and shape, with as many ``labels``, is SVHN's."""
    if len(shape) != 4 or shape[2] != 3 or kind != "uint8" or shape[3] != labels:
        raise DataError(
            f"The file {path} holds X {kind} {list(shape)} and {labels} labels y; SVHN's format 2 is X uint8 [32, 32, 3, N] "
            "and y [N, 1]. Take train_32x32.mat and test_32x32.mat."
        )


def read_usps_text(path: Path) -> Part:
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


def read_usps_zip(path: Path) -> Part:
    """USPS as *The Elements of Statistical Learning* hands it out (``zip.train.gz``): a digit and 256 values a line.

    Values lie in [-1, 1]; the file may be unpacked. Returns images [N, 16, 16] and labels [N].
    """
    lines = [line.split() for line in read_bytes(path).decode("ascii", errors="replace").splitlines()]
    wrong = next((row for row, cells in enumerate(lines) if len(cells) != 257), None)
    if wrong is not None or not lines:
        where = "is empty" if wrong is None else f"holds {len(lines[wrong])} numbers in line {wrong + 1}"
        raise DataError(f"The file {path} {where}; a line is a digit and 256 grey values. {AGAIN}")
    try:
        table = np.array(lines, dtype=np.float64)
    except ValueError as error:
        raise DataError(f"The file {path} holds something that is no number ({error}). {AGAIN}") from error
    return as_bytes(path, (table[:, 1:] + 1) / 2, table[:, 0].astype(np.int64))


def read_usps_h5(path: Path) -> dict[str, Part]:
    """USPS as ``usps.h5``: groups ``train`` and ``test`` with ``data`` [N, 256] in [0, 1] and ``target`` [N].

    Returns, for each of the two groups, images [N, 16, 16] and labels [N].
    """

    def whole(values: Any, labels: Any) -> tuple[NDArray[np.float64], Labels]:
        return np.asarray(values, dtype=np.float64), np.asarray(labels).astype(np.int64)

    return {part: as_bytes(path, *taken) for part, taken in usps_h5(path, whole).items()}


def usps_h5(path: Path, take: Callable[[Any, Any], Taken]) -> dict[str, Taken]:
    """What ``take`` makes of ``data`` and ``target``, as they lie in the file, of each group of ``usps.h5``."""
    try:
        import h5py
    except ImportError as error:
        raise missing_extra("h5py", "data", f"Reading {path}") from error
    try:
        with h5py.File(path, "r") as opened:
            return {part: take(opened[part]["data"], opened[part]["target"]) for part in ("train", "test")}
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"The file {path} cannot be read as USPS's HDF5 file ({error}). {AGAIN}") from error


def check_usps(path: Path, values: Sequence[int], labels: Sequence[int]) -> None:
    """Check that grey values and labels of these shapes are [N, 256] and [N]."""
    if len(values) != 2 or values[1] != 256 or tuple(labels) != (values[0],) or not values[0]:
        raise _no_usps(path)


def as_bytes(path: Path, values: NDArray[np.float64], labels: Labels) -> Part:
    """Images uint8 [N, 16, 16] from grey values [N, 256] in [0, 1], with their labels checked to be digits."""
    check_usps(path, values.shape, labels.shape)
    if values.min() < -1e-6 or values.max() > 1 + 1e-6 or labels.min() < 0 or labels.max() > 9:
        raise _no_usps(path)
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8).reshape(-1, 16, 16), labels


def _no_usps(path: Path) -> DataError:
    return DataError(f"The file {path} does not hold USPS digits: 256 grey values and one label an image. {AGAIN}")


def read_listed_images(folder: Path, listing: Path, size: int) -> Part:
    """Images of ``folder`` named by ``listing``, whose lines are ``file label``, in its order.

    Returns images [N, size, size, 3] and labels [N].
    """
    files, labels = listed_files(folder, listing)
    images = np.empty((len(files), size, size, 3), dtype=np.uint8)
    for row, file in enumerate(files):
        images[row] = np.asarray(fitted(read_rgb(folder / file), size))
    return images, labels


def listed_files(folder: Path, listing: Path) -> tuple[list[str], Labels]:
    """The files of ``folder`` that ``listing`` names, each of which must be there, and their labels."""
    try:
        rows = [line.split() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
        labels = np.array([int(label) for _, label in rows], dtype=np.int64)
    except (OSError, ValueError) as error:
        raise DataError(f"The file {listing} is not a list of 'file label' lines ({error}). {AGAIN}") from error
    there = set(files_in(folder)) if folder.is_dir() else set()  # one look instead of one at each file
    absent = next((file for file, _ in rows if file not in there and not (folder / file).is_file()), None)
    if absent is not None:
        raise DataError(f"The image {folder / absent}, named in {listing.name}, does not exist. {AGAIN}")
    return [file for file, _ in rows], labels


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
