"""How many images small-image data sets' files hold, told by headers, lines, names and sizes: nothing is decoded.

Each function refuses, as its reader in :mod:`dfdgbench.datasets.disk.formats` does, what can be seen to be wrong without
reading on. Damage within pixels goes unnoticed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dfdgbench.datasets.disk import formats
from dfdgbench.datasets.disk.scan import IMAGE_SUFFIXES, class_folders, files_in

IDX_HEADER = 4 + 4 * 255
"""Bytes of the longest header of an idx file."""


def idx_shape(path: Path) -> Sequence[int]:
    """The shape of the array in an idx file, of which the header alone is unpacked.

    A file whose length is not what the header says is read in full, which tells what is the matter with it.
    """
    start, shape = formats.idx_header(path, formats.read_bytes(path, IDX_HEADER))
    whole = _unpacked_size(path) == (start + math.prod(shape)) % 2**32
    return shape if whole else formats.read_idx(path).shape


def _unpacked_size(path: Path) -> int:
    """Bytes that ``path`` unpacks to, modulo 2**32: gzip writes that into the last four (RFC 1952)."""
    if path.suffix != ".gz":
        return path.stat().st_size % 2**32
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return int.from_bytes(file.read(4), "little")


def digit_tree(folder: Path) -> int:
    """Image files ``DIGIT/NUMBER.png`` in ``folder``."""
    class_folders(folder, folder.name, formats.DIGITS)
    names = (name for digit in formats.DIGITS for name in files_in(folder / digit))
    return sum(os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES for name in names)


def cifar(path: Path, rows: int) -> int:
    """Images of one file of CIFAR-10's binary version, by its size; they are ``rows``."""
    formats.check_cifar_size(path, path.stat().st_size, rows)
    return rows


def svhn(path: Path) -> int:
    """Images in one of SVHN's MATLAB files, by the headers of its arrays."""
    from scipy.io import whosmat

    with formats.reading_svhn(path):
        arrays = {name: (shape, kind) for name, shape, kind in whosmat(path)}
        (shape, kind), (labels, _) = arrays["X"], arrays["y"]
    formats.check_svhn(path, kind, shape, math.prod(labels))
    return int(shape[3])


def usps_h5(path: Path) -> int:
    """Images of both groups of ``usps.h5``, by the shapes of their arrays."""

    def count(values: Any, labels: Any) -> int:
        formats.check_usps(path, values.shape, labels.shape)
        return len(values)

    return sum(formats.usps_h5(path, count).values())


def lines(path: Path) -> int:
    """Lines of a text file, which is unpacked where it is packed: of USPS, each is an image."""
    state = path.stat()
    return _lines(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=16)
def _lines(path: Path, size: int, changed: int) -> int:
    """Kept for files that do not change: bzip2 takes a second to unpack USPS, which several datasets share."""
    content = formats.read_bytes(path)
    return content.count(b"\n") + bool(content and not content.endswith(b"\n"))
