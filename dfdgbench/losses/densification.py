"""Data densification (G-VBSM): the images of a class are kept apart by the spectrum of their Gram matrix."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

SIDE = 32


def spectrum_divergence(rows: Tensor, temperature: float = 4.0) -> Tensor:
    """The divergence of a class's spectrum from its softened self, for each class.

    With the eigenvalues l of X·Xᵀ::

        p = softmax(l / τ), taken as constant      q = softmax(l)      KL(p ‖ q) = Σ_j p_j · (ln p_j - ln q_j)

    The gradient with respect to l is q - p, which flattens the spectrum. p underflows to 0 where the eigenvalues are far
    apart; there 0·ln 0 = 0. Computed in float64.

    Args:
        rows: X, [..., n, d], the n images of each class.
        temperature: τ.

    Returns:
        [...].
    """
    double = rows.double()
    eigenvalues = torch.linalg.eigvalsh(double @ double.mT)
    with torch.no_grad():
        softened = torch.log_softmax(eigenvalues / temperature, dim=-1)
        p = softened.exp()
    log_q = torch.log_softmax(eigenvalues, dim=-1)
    divergence: Tensor = torch.where(p > 0, p * (softened - log_q), 0.0).sum(-1)
    return divergence.to(rows.dtype)


def densification(images: Tensor, classes: int, temperature: float = 4.0) -> Tensor:
    """Sum over ``classes`` of :func:`spectrum_divergence`, a scalar.

    Args:
        images: [classes * n, C, H, W], one class after the other; averaged down to 32 x 32 where larger.
    """
    small = images if images.shape[-1] <= SIDE else adaptive_avg_pool2d(images, SIDE)
    return spectrum_divergence(small.reshape(classes, len(images) // classes, -1), temperature).sum()
