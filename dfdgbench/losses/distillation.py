"""Distillation of several teachers into one student.

Source: DEKAN (arXiv 2110.04545), Eq 3. For teacher weights w(x) that sum to 1 over the teachers::

    p(x) = Σ_i w_i(x) · softmax(T_i(x) / τ)
    L    = τ² · KL( p ‖ softmax(S(x) / τ) ),   mean over the batch

The paper prints the divergence the other way round; ``direction="reverse"`` computes that one.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from dfdgbench.errors import unknown

Direction = Literal["forward", "reverse"]
DIRECTIONS: tuple[str, ...] = get_args(Direction)


def teacher_targets(logits: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """Weighted average of the teachers' probabilities after temperature (not of their logits).

    Args:
        logits: of I teachers, [I, B, K]. What stands where a teacher's weight is 0 is ignored, NaN included.
        weights: of the teachers for each image, [B, I]; a row sums to 1.
        temperature: τ.

    Returns:
        p, [B, K].
    """
    factors = weights.to(logits).T.unsqueeze(-1)
    # A weight of 0 alone would not silence a teacher that was never run: 0 times NaN is NaN.
    heard = torch.where(factors == 0, 0.0, logits)
    return (factors * torch.softmax(heard / temperature, dim=-1)).sum(0)


def distillation_loss(student_logits: Tensor, p: Tensor, temperature: float, direction: str = "forward") -> Tensor:
    """τ² times the divergence between the targets and the student, mean over the batch. 0 iff the two agree.

    Args:
        student_logits: [B, K].
        p: target probabilities at the same temperature, [B, K].
        temperature: τ.
        direction: ``forward`` for KL(p ‖ S), ``reverse`` for KL(S ‖ p).

    Returns:
        A scalar tensor.
    """
    if direction not in DIRECTIONS:
        raise unknown("direction of distillation", direction, DIRECTIONS)
    log_student = log_softmax(student_logits / temperature, dim=-1)
    if direction == "forward":
        divergence = kl_div(log_student, p, reduction="batchmean")
    else:
        # A target that underflowed to 0 would make the divergence infinite.
        log_target = p.clamp_min(torch.finfo(p.dtype).tiny).log()
        divergence = kl_div(log_target, log_student, reduction="batchmean", log_target=True)
    return temperature**2 * divergence
