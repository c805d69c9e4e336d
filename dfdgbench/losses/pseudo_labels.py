"""Pseudo-labels: the surest pixels of every class (CBST, Zou et al. 2018), and pixels that one of two heads is sure of."""

from __future__ import annotations

import torch
from torch import Tensor


def class_thresholds(confidences: Tensor, classes: Tensor, num_classes: int, portion: float) -> Tensor:
    """The confidence from which a pixel is labelled, [K], so that ``portion`` of the pixels predicted as a class are.

    Of n = floor(portion · count) pixels the last one's confidence; 1 where n is 0.

    Args:
        confidences, classes: highest probabilities and where they are, [N].
    """
    thresholds = confidences.new_ones(num_classes)
    for index in range(num_classes):
        own = confidences[classes == index]
        kept = int(portion * len(own) + 1e-9)
        if kept:
            thresholds[index] = own.topk(kept).values[-1]
    return thresholds


def pseudo_labels(scores: Tensor, thresholds: Tensor, ignored: int) -> Tensor:
    """Labels [B, H, W] from scores [B, K, H, W]: the class of the highest p_c / threshold_c, ``ignored`` where that is below 1."""
    ratios, labels = (scores.softmax(1) / thresholds.view(1, -1, 1, 1)).max(1)
    return torch.where(ratios >= 1, labels, torch.full_like(labels, ignored))


@torch.no_grad()
def labels_of_two(main: Tensor, auxiliary: Tensor, threshold: float, ignored: int) -> Tensor:
    """Labels [B, H, W] from two heads' scores [B, K, H, W]: the class that both give the most probability together where
    either head gives some class more than ``threshold``, ``ignored`` elsewhere (MaxSquare's multi-level variant, Chen et al.
    2019)."""
    one, other = main.softmax(1), auxiliary.softmax(1)
    sure = torch.maximum(one.amax(1), other.amax(1)) > threshold
    labels = (one + other).argmax(1)
    return torch.where(sure, labels, torch.full_like(labels, ignored))
