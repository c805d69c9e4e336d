"""SFDA's losses that need no target: statistics, outputs, and the game of easy and hard patches (Liu et al. 2021).

Logits of a discriminator are of "hard" (1) against "easy" (0), or of "target" (1) against "source" (0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.losses.confidence import Prediction

Moments = tuple[Tensor, Tensor]
Reduce = Literal["sum", "layer_mean"]
Space = Literal["logits", "prob"]
Form = Literal["bce", "minimax"]


def statistics_loss(
    found: Sequence[Moments], stored: Sequence[Moments], reduce: Reduce = "layer_mean", power: Literal[1, 2] = 2
) -> Tensor:
    """How far means and (biased) variances, [C] a layer, are from stored ones (Eq. 4).

    Args:
        reduce: "sum" adds all channels of all layers, as printed; "layer_mean" adds the layers' means over channels.
        power: 2 takes squared Euclidean norms, as printed; 1 norms (of "layer_mean": root mean squares).
    """
    values = [value.flatten() for pair in found for value in pair]
    wanted = [value for pair in stored for value in pair]
    sizes = [len(value) for value in wanted]
    squares = (torch.cat(values) - torch.cat(wanted)).square()  # in one go: layers are many and small
    if power == 2 and reduce == "sum":
        return squares.sum()
    if power == 2:
        counts = torch.tensor(sizes, device=squares.device)
        return (squares / counts.repeat_interleave(counts, output_size=len(squares))).sum()
    layers = [each.sum() if reduce == "sum" else each.mean() for each in squares.split(sizes)]
    return torch.stack([_root(each) for each in layers]).sum()


def output_distance(
    one: Tensor, other: Tensor, space: Space = "logits", reduce: Literal["mean", "literal"] = "mean"
) -> Tensor:
    """Absolute difference of score maps [B, K, H, W] (Eq. 5): their mean, or as printed the sum over pixels and classes divided
    by K, mean over the batch."""
    if space == "prob":
        one, other = one.softmax(1), other.softmax(1)
    difference = (one - other).abs()
    return difference.mean() if reduce == "mean" else difference.sum((1, 2, 3)).mean() / one.shape[1]


def telling_apart(hard: Tensor, easy: Tensor) -> Tensor:
    """The discriminator's loss: mean binary cross-entropy of hard patches as hard and of easy ones as easy.

    Eq. 15 and 16 as printed contradict the text in a sign; this is the text's.
    """
    return functional.binary_cross_entropy_with_logits(
        hard, torch.ones_like(hard)
    ) + functional.binary_cross_entropy_with_logits(easy, torch.zeros_like(easy))


def deceiving(hard: Tensor, form: Form = "bce") -> Tensor:
    """The model's loss on hard patches: cross-entropy of being taken for easy; "minimax" is the mean log-probability of being
    taken for hard, which has the same minimum and weaker gradients where the discriminator wins."""
    if form == "minimax":
        return functional.logsigmoid(hard).mean()
    return functional.binary_cross_entropy_with_logits(hard, torch.zeros_like(hard))


def shown_to_discriminator(seen: Prediction, kind: Literal["logits", "softmax", "self_info"] = "softmax") -> Tensor:
    """What of a prediction [B, K, ...] a discriminator sees: logits, probabilities p, or -p log p."""
    if kind == "logits":
        return seen.scores
    return seen.probabilities if kind == "softmax" else -seen.probabilities * seen.logs


def _root(size: Tensor) -> Tensor:
    """The root, with a gradient of 0 at 0."""
    return torch.where(size > 0, size.clamp_min(1e-30).sqrt(), size)
