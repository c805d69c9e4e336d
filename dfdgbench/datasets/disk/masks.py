"""Reading masks: files that hold one label id a pixel, brought to a data set's class indices by a table.

A palette is never looked at: the numbers in the file are the label ids, whatever colour they are shown in. An id that a
table does not name belongs to no class (``IGNORED``), and no id, negative or large, ever indexes past the table's ends.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfdgbench.datasets.disk.decode import REPLACE, decoding
from dfdgbench.datasets.domains import Mask
from dfdgbench.datasets.metadata import IGNORED
from dfdgbench.errors import DataError

Table = NDArray[np.uint8]
"""uint8 [256], from label id to class index; ``IGNORED`` for ids of no class."""

PathLike = str | os.PathLike[str]
IDS = 256
INDEX_MODES = ("L", "P")


def table(classes: Mapping[int, int]) -> Table:
    """uint8 [256] from label ids to class indices; ids that ``classes`` does not name become ``IGNORED``.

    Raises:
        ValueError: an id or a class index outside 0..255; leave ids of no class (Cityscapes' -1) out.
    """
    made = np.full(IDS, IGNORED, dtype=np.uint8)
    for label, index in classes.items():
        if not (0 <= label < IDS and 0 <= index < IDS):
            raise ValueError(f"the label id {label} for class {index} does not lie in 0..{IDS - 1}; leave it out")
        made[label] = index
    return made


def classes_of(labels: NDArray[Any], lookup: Table) -> Mask:
    """Class indices uint8 of label ids of any integer type and shape; ids outside 0..255 become ``IGNORED``."""
    if labels.dtype == np.uint8:
        return np.take(lookup, labels)
    inside = (labels >= 0) & (labels < IDS)
    return np.where(inside, np.take(lookup, np.where(inside, labels, 0)), np.uint8(IGNORED))


class MaskReader(Protocol):
    """Reads the mask in a file: class indices uint8 [H, W] by a table."""

    def __call__(self, path: PathLike, lookup: Table) -> Mask: ...


def read_indexed(path: PathLike, lookup: Table) -> Mask:
    """Class indices uint8 [H, W] of a mask of 8 bits in one channel, grey or with a palette.

    Raises:
        DataError: the file cannot be decoded, or holds colours instead of label ids.
    """
    with decoding(path), Image.open(path) as opened:
        mode = opened.mode
        labels = np.asarray(opened) if mode in INDEX_MODES else None
    if labels is None:
        raise DataError(
            f"The mask {path} is an image of mode {mode}; a mask holds one label id a pixel in one channel of 8 bits "
            f"(mode {' or '.join(INDEX_MODES)}). Put the file of label ids there, not the one of colours."
        )
    return classes_of(labels, lookup)


def read_first_of_16_bits(path: PathLike, lookup: Table) -> Mask:
    """Class indices uint8 [H, W] of a PNG of three channels of 16 bits whose first channel is the label id (SYNTHIA).

    Pillow would reduce every channel to its high byte, which is 0 for all of SYNTHIA's ids; OpenCV keeps 16 bits.

    Raises:
        DataError: the file cannot be decoded, or does not hold three channels of 16 bits.
    """
    import cv2

    with decoding(path):
        try:
            content = np.fromfile(path, dtype=np.uint8)
            decoded = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
        except cv2.error as error:
            raise OSError(str(error)) from error
        if decoded is None:
            raise OSError("it is cut short or no image file")
    if decoded.dtype != np.uint16 or decoded.ndim != 3 or decoded.shape[2] != 3:
        channels = decoded.shape[2] if decoded.ndim == 3 else 1
        raise DataError(
            f"The mask {path} holds {8 * decoded.dtype.itemsize} bits in each of its channels ({channels}); 16 bits in 3 "
            "channels are expected, the first being the label id. A program that rewrites such files in 8 bits sets every "
            f"id to 0. {REPLACE}"
        )
    return classes_of(decoded[:, :, 2], lookup)  # OpenCV's order of channels is the reverse of the file's
