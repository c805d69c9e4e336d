"""Image prior: total variation and image norm.

Source: the regulariser L_R of DEKAN (arXiv 2110.04545), Eq 4, taken from DeepInversion (Yin et al. 2020). Every value
is that of one group of images, the unit whose statistics are matched, so groups optimised together do not interact.
"""

from __future__ import annotations

import torch
from torch import Tensor


def total_variation(images: Tensor) -> tuple[Tensor, Tensor]:
    """Total variation of each group over four neighbour differences.

    With D_1..D_4 the horizontal, vertical and the two diagonal differences of neighbouring pixels::

        TV_l2 = Σ_k ‖D_k‖₂      each norm over all of the group's images: grows with √B
        TV_l1 = Σ_k mean |D_k|

    Args:
        images: [G, B, C, H, W] with H, W >= 2.

    Returns:
        TV_l2 and TV_l1, each [G]. Where a difference is zero throughout, its gradient is 0.
    """
    upper, lower = images[..., :-1, :], images[..., 1:, :]
    differences = (
        images[..., :, :-1] - images[..., :, 1:],
        upper - lower,
        upper[..., 1:] - lower[..., :-1],
        upper[..., :-1] - lower[..., 1:],
    )
    per_group = (1, 2, 3, 4)
    l2 = torch.stack([torch.linalg.vector_norm(d, dim=per_group) for d in differences]).sum(0)
    l1 = torch.stack([d.abs().mean(per_group) for d in differences]).sum(0)
    return l2, l1


def image_norm(images: Tensor) -> Tensor:
    """Mean over a group's images of ‖x_n‖₂.

    Args:
        images: [G, B, C, H, W].

    Returns:
        [G].
    """
    norms: Tensor = torch.linalg.vector_norm(images, dim=(2, 3, 4))
    return norms.mean(1)
