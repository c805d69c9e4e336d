"""Predictions of several teachers without a student: AvgPred and HighestConf of DEKAN (arXiv 2110.04545), Table 1."""

from __future__ import annotations

import torch
from torch import Tensor


def average_prediction(probabilities: Tensor) -> Tensor:
    """Mean over teachers of their probabilities (not of their logits or votes).

    Args:
        probabilities: [I, B, K].

    Returns:
        [B, K].
    """
    return probabilities.mean(0)


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy -Σ_k p_k·ln p_k over the last dimension, with 0·ln 0 = 0: [..., K] to [...]."""
    return -torch.xlogy(probabilities, probabilities).sum(-1)


def lowest_entropy(probabilities: Tensor) -> Tensor:
    """For each image the teacher whose prediction has the lowest entropy; among equals the lowest index.

    The teacher with the highest maximum can be another one.

    Args:
        probabilities: [I, B, K].

    Returns:
        Teacher indices, [B] int64.
    """
    return entropy(probabilities).argmin(0)


def highest_confidence(probabilities: Tensor) -> Tensor:
    """For each image the probabilities of its ``lowest_entropy`` teacher.

    Args:
        probabilities: [I, B, K].

    Returns:
        [B, K].
    """
    teachers = lowest_entropy(probabilities)
    return probabilities[teachers, torch.arange(len(teachers), device=teachers.device)]
