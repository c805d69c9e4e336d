"""Segmentation: cross-entropy over pixels, and intersection over union from one confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.errors import DataError
from dfdgbench.tasks.base import Accumulator, Task

IGNORED = 255
"""The label of pixels that belong to no class."""


class Confusion(Accumulator):
    """One confusion matrix [K, K] over all images, true classes in rows; never a mean over images.

    Pixels labelled 255 are left out; any other label from K on is a ``DataError``.

    Args:
        classes: K names.
        subsets: names to some of the classes, whose mean is reported beside that of all.
    """

    def __init__(self, classes: Sequence[str], subsets: Mapping[str, Sequence[str]]) -> None:
        self.classes, self.subsets = tuple(classes), subsets
        self.matrix = torch.zeros(len(classes), len(classes), dtype=torch.int64)

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Scores [B, K, h, w] and labels [B, H, W]; scores of another size are brought to the labels' bilinearly."""
        if scores.shape[2:] != targets.shape[1:]:
            scores = functional.interpolate(scores.float(), targets.shape[1:], mode="bilinear", align_corners=False)
        valid, count = targets != IGNORED, len(self.classes)
        true, predicted = targets[valid], scores.argmax(1)[valid]
        if true.numel() and int(true.max()) >= count:
            raise DataError(
                f"A mask holds the label {int(true.max())}, and there are {count} classes (0 to {count - 1}; {IGNORED} for "
                "pixels of no class). Read it by its dataset's table of labels."
            )
        self.matrix += torch.bincount(true * count + predicted, minlength=count**2).view(count, count).cpu()

    def compute(self) -> dict[str, float]:
        """``miou``, ``acc`` (of pixels), ``macc`` (mean of the classes' accuracies), ``classes`` (how many are in the mean of
        IoUs), ``iou_NAME`` a class, ``miou_SUBSET`` a subset; shares from 0 to 1.

        A class that is neither there nor predicted has NaN and is left out of means; one that is predicted alone has 0.
        """
        matrix = self.matrix.double()
        right, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        ious = right / (true + predicted - right)
        each = dict(zip(self.classes, ious.tolist(), strict=True))
        found = {
            "miou": _mean(ious),
            "acc": float(right.sum() / matrix.sum()),
            "macc": _mean(right / true),
            "classes": float(ious.isfinite().sum()),
        }
        found |= {f"miou_{name}": _mean(torch.tensor([each[c] for c in kept])) for name, kept in self.subsets.items()}
        return found | {f"iou_{name}": value for name, value in each.items()}


class AtBothSizes(Accumulator):
    """Two confusion matrices: at the size that networks see, and at that of the masks' files.

    Args:
        resized, native: empty ones.
    """

    def __init__(self, resized: Confusion, native: Confusion) -> None:
        self.resized, self.native = resized, native

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """At the size that networks see."""
        self.resized.update(scores, targets)

    def update_native(self, scores: Tensor, masks: Sequence[Tensor]) -> None:
        """Scores [B, K, h, w], enlarged to each of the B masks [H, W] in its own size."""
        for own, mask in zip(scores, masks, strict=True):
            self.native.update(own[None], mask[None])

    def compute(self) -> dict[str, float]:
        """Those of the resized masks, and of the masks in their own sizes under the same names behind ``native_``."""
        native = {f"native_{name}": value for name, value in self.native.compute().items()}
        return self.resized.compute() | native


def _mean(values: Tensor) -> float:
    return float(values[values.isfinite()].mean())


class Segmentation(Task):
    """Images [B, 3, H, W] to scores [B, K, H, W]; labels [B, H, W], 255 for pixels of no class.

    Args:
        classes: K names.
        subsets: names to some of the classes.
        native: whether masks are scored at their own size, too.
    """

    name = "segmentation"

    def __init__(
        self, classes: Sequence[str], subsets: Mapping[str, Sequence[str]] | None = None, native: bool = False
    ) -> None:
        self.classes, self.subsets, self.native = tuple(classes), dict(subsets or {}), native

    @property
    def suffixes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Of every metric's record key, the mean of IoUs first."""
        return tuple(self.accumulator().compute())

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy over the pixels that have a class; 0, with gradients of 0, where none has."""
        total = functional.cross_entropy(scores, targets, ignore_index=IGNORED, reduction="sum")
        return total / (targets != IGNORED).sum().clamp_min(1)

    def accumulator(self) -> Accumulator:
        made = [Confusion(self.classes, self.subsets) for _ in range(2 if self.native else 1)]
        return AtBothSizes(*made) if self.native else made[0]
