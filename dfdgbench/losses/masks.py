"""Formulas of domain-specific masks (Chattopadhyay et al. 2020, arXiv 2008.12839; DMG's release).

A *soft* mask is a vector of probabilities p in (0, 1), a *hard* one of zeros and ones; D domains have one each, [D, k].
"""

from __future__ import annotations

from itertools import combinations
from typing import Literal, get_args

import torch
from torch import Tensor

from dfdgbench.errors import ConfigError, listing

Reduction = Literal["mean", "sum"]
SMOOTHING = 1e-6
"""Added to intersection and union by the release; two empty masks then overlap wholly."""


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """``hard`` in the forward pass, ``soft`` in the backward pass: du/dp = 1 whatever was drawn (Bengio et al. 2013).

    Args:
        hard: zeros and ones, of the shape of ``soft``.
        soft: probabilities.
    """
    # hard + 0, to the bit; (hard - soft) + soft would round.
    return hard + (soft - soft.detach())


def domain_pairs(domains: int) -> list[tuple[int, int]]:
    """The D (D - 1) / 2 unordered pairs, in the order of every vector over pairs here."""
    return list(combinations(range(domains), 2))


def pairwise_iou(masks: Tensor, smoothing: float = SMOOTHING) -> Tensor:
    """Intersection over union of every pair of D masks, soft or hard: [D, k] -> [D (D - 1) / 2].

    sIoU(p, q) = sum_k p_k q_k / sum_k (p_k + q_k - p_k q_k), ``smoothing`` added above and below (spec D5).
    """
    shared, total = masks @ masks.T, masks.sum(1)
    one, other = torch.triu_indices(len(masks), len(masks), offset=1, device=masks.device)
    both = shared[one, other]
    return (both + smoothing) / (total[one] + total[other] - both + smoothing)


def overlap(soft: Tensor, reduction: Reduction = "mean", smoothing: float = SMOOTHING) -> Tensor:
    """The penalty O_s of one site: soft IoU over the pairs of domains, [D, k] -> scalar.

    Args:
        reduction: "mean" over the pairs is what the release computes, "sum" what the paper writes (spec D4).
    """
    if reduction not in get_args(Reduction):
        allowed = listing(get_args(Reduction))
        raise ConfigError(f"The reduction over pairs of masks is '{reduction}'. Type one of: {allowed}.")
    if len(soft) < 2:
        raise ConfigError(f"The overlap of {len(soft)} mask is not defined; give the masks of 2 or more domains.")
    values = pairwise_iou(soft, smoothing)
    return values.mean() if reduction == "mean" else values.sum()


def sparsity(soft: Tensor) -> Tensor:
    """The penalty S_s of one site: the L1 norm of all soft masks, [D, k] -> scalar."""
    return soft.sum()


def thresholded(soft: Tensor) -> Tensor:
    """Hard masks: 1 where p > 0.5, 0 elsewhere and at 0.5 itself."""
    return (soft > 0.5).to(soft.dtype)


def unit_shares(hard: Tensor) -> dict[str, Tensor]:
    """Which share of the k units is off in all masks, on in all (shared), or on in some only (specific): [D, k] -> scalars."""
    on = hard.mean(0)
    shared, off = (on == 1).to(hard.dtype).mean(), (on == 0).to(hard.dtype).mean()
    return {"off": off, "shared": shared, "specific": 1 - off - shared}
