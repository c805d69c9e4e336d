"""How far two sets of features are apart: second-order moments (CORAL) and mean embeddings (MMD)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor

GAMMAS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""Inverse widths of the kernel that is summed (DomainBed)."""


def coral(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference of means plus that of covariances, of features [N, F] and [M, F] (Sun and Saenko 2016).

    Means over entries, where the paper divides the covariances' sum by 4 F²; covariances are divided by N - 1.
    """
    means = (x.mean(0) - y.mean(0)).square().mean()
    return means + (_covariance(x) - _covariance(y)).square().mean()


def mmd(x: Tensor, y: Tensor, gammas: Sequence[float] = GAMMAS) -> Tensor:
    """Squared maximum mean discrepancy of features [N, F] and [M, F] under a sum of Gaussian kernels, the biased estimate
    (Gretton et al. 2012, Eq. 5): mean k(x, x') + mean k(y, y') - 2 mean k(x, y)."""
    return _kernel(x, x, gammas).mean() + _kernel(y, y, gammas).mean() - 2 * _kernel(x, y, gammas).mean()


def mean_over_pairs(distance: Callable[[Tensor, Tensor], Tensor], sets: Sequence[Tensor]) -> Tensor:
    """The mean of ``distance`` over all pairs of ``sets``; 0 where there is none."""
    pairs = list(combinations(sets, 2))
    if not pairs:
        return sets[0].new_zeros(())
    return torch.stack([distance(x, y) for x, y in pairs]).mean()


def _covariance(x: Tensor) -> Tensor:
    centred = x - x.mean(0)
    return centred.t() @ centred / (len(x) - 1)


def _kernel(x: Tensor, y: Tensor, gammas: Sequence[float]) -> Tensor:
    squared = (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.t()).clamp_min(1e-30)
    return torch.stack([torch.exp(-gamma * squared) for gamma in gammas]).sum(0)
