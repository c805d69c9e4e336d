"""How sure a network is, as a loss: entropy, maximum squares, and IPSM's ranking of patches.

Scores [B, K, ...] are logits; probabilities are their softmax over K.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Norm = Literal["literal", "released"]


class Prediction(NamedTuple):
    """Scores as a network means them, for losses that share one softmax.

    Attributes:
        scores, logs, probabilities: [B, K, ...]; logits, their log-softmax over K, and its exponential.
    """

    scores: Tensor
    logs: Tensor
    probabilities: Tensor

    @classmethod
    def of(cls, scores: Tensor) -> Prediction:
        """From logits."""
        logs = scores.log_softmax(1)
        return cls(scores, logs, logs.exp())

    def detach(self) -> Prediction:
        """The same without gradients."""
        return Prediction(*(each.detach() for each in self))

    @property
    def entropy(self) -> Tensor:
        """Of every pixel in nats, [B, ...]."""
        return -(self.probabilities * self.logs).sum(1)


def entropy(scores: Tensor) -> Tensor:
    """Entropy of every pixel in nats, [B, ...]; 0, with a finite gradient, for a one-hot prediction."""
    return Prediction.of(scores).entropy


def entropy_loss(scores: Tensor) -> Tensor:
    """Mean entropy over pixels divided by log K, from 0 to 1 (MinEnt; Vu et al. 2019)."""
    return entropy(scores).mean() / math.log(scores.shape[1])


def max_square_loss(scores: Tensor, norm: Norm = "literal") -> Tensor:
    """Minus the mean over pixels of the squared probabilities' sum (SFDA Eq. 2), from -1 to -1/K.

    "released" divides by 2 K besides, as the released MaxSquare does (Chen et al. 2019): means over classes too, and a half.
    """
    return minus_squares(scores.softmax(1), norm)


def minus_squares(probabilities: Tensor, norm: Norm = "literal") -> Tensor:
    """:func:`max_square_loss` of probabilities [B, K, ...]."""
    classes = probabilities.shape[1]
    # A product of the tensor with itself: a power would take a pass more, there and back.
    loss = -(probabilities * probabilities).sum() * (classes / probabilities.numel())
    return loss if norm == "literal" else loss / (2 * classes)


def weighted_max_square_loss(scores: Tensor, power: float = 0.2) -> Tensor:
    """Maximum squares with every pixel weighted by how seldom its predicted class is in its image (MaxSquare, Eq. 9).

    Of N pixels, N_c of class c: weight 1 / max(N_c^power N^(1 - power), 1); the sum over pixels is divided by B K.

    Args:
        power: q; 0 weighs all pixels alike.
    """
    batch, classes = scores.shape[:2]
    probabilities = scores.softmax(1)
    predicted = scores.argmax(1).flatten(1)
    counts = torch.zeros(batch, classes, device=scores.device, dtype=scores.dtype)
    counts.scatter_add_(1, predicted, torch.ones_like(predicted, dtype=scores.dtype))
    scale: float = predicted.shape[1] ** (1 - power)
    weights = 1 / (counts.pow(power) * scale).clamp_min(1)
    squares = probabilities.square().sum(1).flatten(1)
    return -(weights.gather(1, predicted) * squares).sum() / (batch * classes)


def patches(scores: Tensor, k: int) -> Tensor:
    """The K² patches of score maps [B, C, H, W], row by row, as [K², B, C, H // K, W // K]; what does not divide is cut off
    at the bottom and at the right."""
    height, width = scores.shape[2] // k, scores.shape[3] // k
    cut: Tensor = scores[:, :, : height * k, : width * k].unflatten(3, (k, width)).unflatten(2, (k, height))
    return cut.permute(2, 4, 0, 1, 3, 5).flatten(0, 1)


def patch_entropies(seen: Prediction, k: int) -> Tensor:
    """Mean entropies in nats of the K² patches of every image, [K², B] (Eq. 13). No gradient passes."""
    return patches(seen.detach().entropy[:, None], k).mean((2, 3, 4))


def halves(entropies: Tensor) -> tuple[Tensor, Tensor]:
    """For each of the K² positions, the half of ``entropies`` [K², B] that are lower (easy) and the other (hard), as places
    [K², B / 2] in ascending order; equals are ranked by their place in the batch (Eq. 14).

    Raises:
        ValueError: B is odd.
    """
    if entropies.shape[1] % 2:
        raise ValueError(f"a batch of {entropies.shape[1]} cannot be halved into easy and hard patches")
    order = entropies.argsort(dim=1, stable=True)
    easy, hard = order.chunk(2, dim=1)
    return easy.sort(1).values, hard.sort(1).values
