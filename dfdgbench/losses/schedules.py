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


def inverse(done: float, base_lr: float, gamma: float = 1e-4, power: float = 0.75) -> float:
    """``base_lr · (1 + gamma · done) ** -power``: DMG's on DomainNet, whose release counts iterations done (spec D1).

    Args:
        done: iterations, or passes over the data, before this one.
    """
    if done < 0:
        raise ValueError(f"{done} iterations done")
    return base_lr * float((1 + gamma * done) ** -power)


def exponential(done: float, base_lr: float, decay: float) -> float:
    """``base_lr · decay ** done``: DMG's on PACS, 0.99 after each pass over the data.

    Args:
        done: passes over the data before this one.
    """
    if not 0 < decay <= 1:
        raise ConfigError(
            f"The decay of the learning rate is {decay}. Allowed: above 0, at most 1. Type for example: 0.99"
        )
    return base_lr * float(decay**done)


def cosine(done: float, base_lr: float) -> float:
    """``base_lr · (1 + cos(π · done)) / 2``, as SRe2L recovers images and trains students.

    Args:
        done: part of all steps, or epochs, that is done before this one, from 0 to below 1.
    """
    if not 0 <= done < 1:
        raise ValueError(f"{done} of a schedule is done")
    return base_lr * (1 + math.cos(math.pi * done)) / 2


def polynomial(step: int, total: int, base_lr: float, power: float) -> float:
    """``base_lr · (1 - step / total) ** power``, as segmentation networks are trained (Chen et al. 2017).

    Args:
        step: 0 to ``total`` - 1.
        power: 0 for a constant rate.
    """
    if not 0 <= step < total:
        raise ValueError(f"step {step} of a schedule of {total} steps")
    return base_lr * float((1 - step / total) ** power)
