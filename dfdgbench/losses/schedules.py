"""Learning rates as functions of the step."""

from __future__ import annotations

import math

from dfdgbench.errors import ConfigError


def warmup_cosine(step: int, total: int, base_lr: float, warmup: int, floor: float = 0.01) -> float:
    """Linear warm-up, then a cosine down to ``floor * base_lr``, which is the rate of the last step.

    For s = ``step``, N = ``total`` and w = ``warmup``::

        s < w:   base_lr · (s + 1) / w
        s >= w:  base_lr · (floor + (1 - floor) · (1 + cos(π·(s - w) / (N - 1 - w))) / 2)

    This is the shape of DeepInversion (Yin et al. 2020) with a floor, as DEKAN (arXiv 2110.04545) runs it.

    Args:
        step: 0 to ``total`` - 1.
        total: number of steps; more than ``warmup``.
        base_lr: the highest rate.
        warmup: number of warm-up steps, 0 for none.
        floor: the last rate as a fraction of ``base_lr``.
    """
    if warmup < 0 or total <= warmup:
        raise ConfigError(
            f"The schedule has {total} steps and a warm-up of {warmup}. Allowed: a warm-up of 0 or more steps, and "
            f"more steps than that. Type for example: {max(2 * warmup, 1)} steps, or a warm-up of {max(total, 0) // 10}"
        )
    if not 0 <= step < total:
        raise ValueError(f"step {step} of a schedule of {total} steps")
    if step < warmup:
        return base_lr * (step + 1) / warmup
    last = total - 1 - warmup
    progress = (step - warmup) / last if last else 1.0
    return base_lr * (floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2)
