"""Penalties on how the risks of several domains, or their gradients, differ: IRM, VREx, Fishr."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def irm_penalty(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared gradient of the risk by a scale of the logits [B, K] at 1 (Arjovsky et al. 2019, IRMv1).

    The product of the gradients of even and odd examples: unbiased, and therefore sometimes negative.
    """
    scale = torch.ones((), device=logits.device, dtype=logits.dtype, requires_grad=True)
    halves = [functional.cross_entropy(logits[start::2] * scale, labels[start::2]) for start in (0, 1)]
    even, odd = (torch.autograd.grad(half, scale, create_graph=True)[0] for half in halves)
    return even * odd


def risk_variance(risks: Tensor) -> Tensor:
    """Population variance of the domains' risks [n] (Krueger et al. 2021, V-REx)."""
    return (risks - risks.mean()).square().mean()


def gradient_variance(features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Variance over examples of the cross-entropy's gradient by a linear classifier, [(F + 1) K] (Rame et al. 2022, Eq. 3).

    In closed form: the gradient by the weights is (softmax - one-hot) ⊗ features, by the bias the first factor.

    Args:
        features: [B, F], what the classifier got.
        logits: [B, K], what it made of them.
    """
    error = logits.softmax(1) - functional.one_hot(labels, logits.shape[1])
    gradients = torch.cat([(error[:, :, None] * features[:, None, :]).flatten(1), error], 1)
    return (gradients - gradients.mean(0)).square().mean(0)


def spread(vectors: Sequence[Tensor]) -> Tensor:
    """Mean over ``vectors`` [V] of the mean squared difference from their mean."""
    stacked = torch.stack(list(vectors))
    return (stacked - stacked.mean(0)).square().mean()
