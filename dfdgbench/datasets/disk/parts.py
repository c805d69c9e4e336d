"""Datasets that were published as a train and a test part, each of which becomes part of one domain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfdgbench.datasets.domains import ArrayDomain, Labels
from dfdgbench.errors import DataError

Pixels = NDArray[np.uint8]
Part = tuple[Pixels, Labels]
"""Images uint8 [N, H, W] or [N, H, W, C], and as many labels."""

AGAIN = "Download it again."


def agreed(name: str, part: str, images: int, labels: int) -> int:
    """``images``, which must be as many as ``labels``; ``DataError`` names the part of ``name`` where they are not."""
    if images != labels:
        raise DataError(
            f"The {part} part of {name} holds {images} images and {labels} labels, which must be as many. {AGAIN}"
        )
    return images


def joined(name: str, train: Part, test: Part, classes: int) -> ArrayDomain:
    """A domain of the train part followed by the test part, both of [N, H, W, C], with the parts "train" and "test".

    Raises:
        DataError: a part has not as many labels as images, or a label below 0 or from ``classes`` on.
    """
    for part, (images, labels) in (("train", train), ("test", test)):
        agreed(name, part, len(images), len(labels))
        if not ((labels >= 0) & (labels < classes)).all():
            raise DataError(
                f"The {part} part of {name} holds labels from {labels.min()} to {labels.max()}, which must be numbers from 0 "
                f"to {classes - 1}. {AGAIN}"
            )
    pixels = np.concatenate([train[0], test[0]])
    keys = np.arange(len(pixels), dtype=np.int64)
    parts = {"train": keys[: len(train[0])], "test": keys[len(train[0]) :]}
    return ArrayDomain(name, pixels, np.concatenate([train[1], test[1]]), parts)
