"""What a distilled set costs to keep, as the paper counts it, with its labels, and on disk (spec, section 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CHANNELS = 3
PARAMETER_BYTES = 4
LOGIT_BYTES = 2


@dataclass(frozen=True)
class Storage:
    """Sizes in units of one uint8 image of ``side`` x ``side`` pixels.

    Attributes:
        images: of the set.
        parameters: of the transfer network, kept in float32; 0 without one.
        logits: that are kept for the student, in float16.
        source_images: training images of as many average domains as there are sources.
    """

    images: int
    side: int
    source_images: float
    parameters: int = 0
    logits: int = 0

    @property
    def _image_bytes(self) -> int:
        return CHANNELS * self.side**2

    @property
    def ratio_paper(self) -> float:
        """(images + transfer network) / source images: a fraction, though the paper's header says %."""
        units = self.images + PARAMETER_BYTES * self.parameters / self._image_bytes
        return units / self.source_images

    @property
    def ratio_with_labels(self) -> float:
        """The same with the logits, which the paper leaves out."""
        return self.ratio_paper + LOGIT_BYTES * self.logits / self._image_bytes / self.source_images


def average_source_images(counts: Sequence[int] | None, sources: int, holdout: float) -> float:
    """Training images of ``sources`` average domains of a dataset with ``counts`` images a domain; NaN where not known.

    The paper divides by the same number for all held-out domains: 0.8 * 3/4 of all images with four domains.
    """
    if not counts:
        return float("nan")
    return (1 - holdout) * sources / len(counts) * sum(counts)
