"""Styles of sets of images and their distances (domain transfer learning, Eq. 5 to 9).

The style of a set at a layer is (m, s): the mean over its images of their channel means, and the root of the mean over its
images of their channel variances. That is less than a pooled variance by the variance between images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Style = tuple[Tensor, Tensor]
"""m and s of one layer, each [..., C]."""

Reduction = Literal["mean", "sum"]
EPSILON = 1e-6


def set_style(means: Tensor, variances: Tensor, groups: int = 1) -> Style:
    """Eq. 5: the style of each of ``groups`` sets.

    Args:
        means, variances: biased moments of every image at a layer, each [groups * B, C], set after set.

    Returns:
        m and s, each [groups, C]; s is the root of the mean variance plus 1e-6.
    """
    mean, variance = (one.unflatten(0, (groups, -1)).mean(1) for one in (means, variances))
    return mean, (variance + EPSILON).sqrt()


def average_style(styles: Sequence[Style]) -> Style:
    """The unweighted mean over domains of m and of s (standard deviations, not variances)."""
    means, deviations = zip(*styles, strict=True)
    return torch.stack(means).mean(0), torch.stack(deviations).mean(0)


def spread(target: Tensor, unbiased: bool = True) -> Tensor:
    """Standard deviation over the channels of a target [..., C], plus 1e-6: [..., 1]."""
    return target.std(-1, correction=int(unbiased), keepdim=True) + EPSILON


def style_distance(
    style: Style, target: Style, *, normalise: bool = True, reduction: Reduction = "mean", unbiased: bool = True
) -> Tensor:
    """Squared distances of m and of s from a target's, over the channels of one layer (Eq. 6 and 7; normalised 8 and 9).

    Args:
        style, target: each [..., C], broadcast against each other.
        normalise: divide every difference by the standard deviation of the target's channels first.
        reduction: mean or sum over channels.

    Returns:
        [...].
    """
    total: Tensor | None = None
    for one, other in zip(style, target, strict=True):
        gap = (one - other) / spread(other, unbiased) if normalise else one - other
        part = gap.square().mean(-1) if reduction == "mean" else gap.square().sum(-1)
        total = part if total is None else total + part
    assert total is not None
    return total
