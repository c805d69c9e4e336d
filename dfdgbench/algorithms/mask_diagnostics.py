"""What DMG's figures are drawn from: masks, their overlap and how far they came, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfdgbench.losses.masks import domain_pairs, pairwise_iou, thresholded, unit_shares

Arrays = Mapping[str, NDArray[Any]]


@torch.no_grad()
def mask_arrays(
    domains: Sequence[str], sites: Sequence[str], logits: Sequence[Tensor], start: Sequence[Tensor]
) -> Arrays:
    """Masks of D domains at S sites, given as logits [D, k] a site with what they were at the start.

    Returns:
        ``domains`` [D], ``sites`` [S], ``pairs`` [P, 2]; ``soft/SITE`` [D, k]; ``hard_iou`` [S, P] (hard masks, threshold 0.5) and
        ``hard_iou_pooled`` [P] (the units of all sites as one mask; the paper does not say how it averages sites, so that both
        are here); ``active`` [S, D], the share of units on; ``off``, ``shared``, ``specific`` [S], shares of units off in all
        masks, on in all, on in some; ``units`` [S]; ``moved_mean``, ``moved_max``, ``crossed`` [S]: mean and largest
        distance of logits from their start, and the share that changed sides of 0.
    """
    now, then = ([tensor.detach().double().cpu() for tensor in tensors] for tensors in (logits, start))
    soft = [torch.sigmoid(tensor) for tensor in now]
    hard = [thresholded(tensor) for tensor in soft]
    shares = [unit_shares(tensor) for tensor in hard]
    moved = [(one - other).abs() for one, other in zip(now, then, strict=True)]
    crossed = [((one > 0) != (other > 0)).double().mean() for one, other in zip(now, then, strict=True)]
    arrays = {
        "hard_iou": torch.stack([pairwise_iou(tensor) for tensor in hard]),
        "hard_iou_pooled": pairwise_iou(torch.cat(hard, 1)),
        "active": torch.stack([tensor.mean(1) for tensor in hard]),
        **{kind: torch.stack([share[kind] for share in shares]) for kind in ("off", "shared", "specific")},
        "moved_mean": torch.stack([tensor.mean() for tensor in moved]),
        "moved_max": torch.stack([tensor.amax() for tensor in moved]),
        "crossed": torch.stack(crossed),
    }
    return {
        "domains": np.array(domains),
        "sites": np.array(sites),
        "pairs": np.array(domain_pairs(len(domains))),
        "units": np.array([tensor.shape[1] for tensor in now]),
        **{f"soft/{site}": tensor.float().numpy() for site, tensor in zip(sites, soft, strict=True)},
        **{name: tensor.numpy() for name, tensor in arrays.items()},
    }


def mask_words(arrays: Arrays) -> str:
    """How far the logits came, in one line for a person."""
    units = arrays["units"]
    moved, crossed = (float(np.average(arrays[name], weights=units)) for name in ("moved_mean", "crossed"))
    return (
        f"mask logits moved by {moved:.3g} on average and {float(arrays['moved_max'].max()):.3g} at most; {100 * crossed:.1f} % "
        f"changed sides; hard masks overlap by {100 * float(arrays['hard_iou_pooled'].mean()):.1f} %"
    )
