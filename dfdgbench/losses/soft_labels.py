"""What a student learns from stored logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss


def soft_label_divergence(student: Tensor, teacher: Tensor, temperature: float = 20.0) -> Tensor:
    """KL(softmax(teacher / T) ‖ softmax(student / T)), mean over the batch, without the factor T² (SRe2L).

    Args:
        student, teacher: logits [B, K].
    """
    log_student, log_teacher = (log_softmax(one / temperature, dim=-1) for one in (student, teacher))
    return kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def matched_logits(student: Tensor, teacher: Tensor, labels: Tensor, hard_weight: float = 0.1) -> Tensor:
    """Mean squared error of logits plus ``hard_weight`` times the cross-entropy of the base images' labels (G-VBSM).

    Args:
        student, teacher: logits [B, K].
        labels: classes of the images that others were mixed into, [B].
    """
    loss: Tensor = mse_loss(student, teacher) + hard_weight * cross_entropy(student, labels)
    return loss


def ensemble_logits(logits: Tensor) -> Tensor:
    """The mean of M backbones' logits, each first brought to their mean Frobenius norm over the batch: [M, B, K] -> [B, K]."""
    norms = torch.linalg.vector_norm(logits, dim=(1, 2), keepdim=True)
    mean: Tensor = (logits * (norms.mean() / norms.clamp_min(torch.finfo(logits.dtype).tiny))).mean(0)
    return mean
