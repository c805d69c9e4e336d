"""Relaxed matching of batch-normalisation moments.

Source: DEKAN (arXiv 2110.04545), Eq 2 and Eq 5; the unrelaxed term is DeepInversion's feature loss (Yin et al. 2020).
For the means m_l and variances v_l at the input of BN layer l, with targets M_l, V_l and slacks δ_l, γ_l::

    L = Σ_l w_l · [ hinge(m_l - M_l; δ_l) + hinge(v_l - V_l; γ_l) ]

The hinge of a difference vector d of C channels has three forms:

==================  ============================  =====================================================
``norm``            max(‖d‖₂ - δ, 0)              as printed in the paper
``channel``         ‖ max(|d| - δ, 0) ‖₂          slack δ shared by the channels of a layer
``channel-scaled``  ‖ max(|d| - ε·|d⁰|, 0) ‖₂     slack of each channel a fraction of its reference difference
==================  ============================  =====================================================

Only the channel forms are free at the reference itself when the relaxation is 100 %: ‖d‖₂ exceeds the largest |d|
as soon as two channels differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from dfdgbench.errors import ConfigError, unknown

Moments = tuple[Tensor, Tensor]
"""Mean and variance over batch and space, each [..., C]."""

Form = Literal["norm", "channel", "channel-scaled"]
FORMS: tuple[str, ...] = get_args(Form)


@dataclass(frozen=True, eq=False)
class Band:
    """What one BN layer's moments are pulled to, and how far from it they may be for free.

    Attributes:
        mean: target mean, [C] (or [G, C], a target per group).
        var: target variance, of the same shape.
        mean_slack: slack of the mean: a scalar, [G, 1], or for the channel forms anything that broadcasts to [G, C].
        var_slack: slack of the variance, likewise.
        weight: factor of the layer in the loss; a layer of weight 0 is not evaluated.
        form: one of ``FORMS``.
    """

    mean: Tensor
    var: Tensor
    mean_slack: Tensor
    var_slack: Tensor
    weight: float = 1.0
    form: str = "channel"


def percentile_slack(differences: Tensor, percent: float) -> Tensor:
    """The ``percent``-percentile over channels of the absolute differences, linearly interpolated.

    Args:
        differences: differences between two statistics of a layer, [C].
        percent: in [0, 100]. 0 means no relaxation, so the slack is 0 and not the smallest difference.

    Returns:
        The slack, a scalar tensor.
    """
    fraction = _fraction(percent)
    if fraction == 0:
        return differences.new_zeros(())
    return torch.quantile(differences.abs(), fraction)


def hinge_norm(d: Tensor, slack: Tensor, form: str) -> Tensor:
    """Relaxed Euclidean norm of each row of ``d``; its gradient is 0 inside the band and at the zero vector.

    Args:
        d: differences, [G, C].
        slack: a scalar or [G, 1]; in the channel forms also [C] or [G, C].
        form: ``norm`` for max(‖d‖₂ - slack, 0); ``channel`` and ``channel-scaled``, which differ only in the slack
            they are given, for ‖max(|d| - slack, 0)‖₂.

    Returns:
        [G].
    """
    # Relaxed moments end up at the kink and at the zero vector. There relu and vector_norm have the gradient 0, while
    # maximum passes half of it (clamp_min all of it in some versions) and the root of a sum of squares gives NaN.
    if form == "norm":
        if slack.dim() and slack.shape[-1] != 1:
            raise ValueError(f"the form 'norm' takes one slack a row, not one of shape {tuple(slack.shape)}")
        return torch.relu(torch.linalg.vector_norm(d, dim=-1, keepdim=True) - slack).squeeze(-1)
    if form not in FORMS:
        raise unknown("relaxation form", form, FORMS)
    norms: Tensor = torch.linalg.vector_norm(torch.relu(d.abs() - slack), dim=-1)
    return norms


def band(
    target: Moments,
    reference: Moments,
    percent: float,
    form: str,
    first_bn_var_percentile: float | None = None,
    weight: float = 1.0,
) -> Band:
    """The band around ``target`` that reaches ``percent`` per cent of the way to ``reference``.

    With d⁰ = target - reference, the slack is the percentile over channels of |d⁰| (``norm``, ``channel``) or
    percent/100·|d⁰| for each channel (``channel-scaled``).

    Args:
        target: moments to match, each [C].
        reference: moments whose distance from the target sets the scale, each [C]: those of Gaussian images in
            intra-domain extraction, the teacher's stored ones in cross-domain fusion.
        percent: relaxation ε in [0, 100]; 0 means none.
        form: one of ``FORMS``.
        first_bn_var_percentile: if given, replaces ``percent`` for the variance, unless that is 0. For the first BN
            layer only.
        weight: factor of the layer.
    """
    if form not in FORMS:
        raise unknown("relaxation form", form, FORMS)
    slack = _scaled_slack if form == "channel-scaled" else percentile_slack
    var_percent = percent if first_bn_var_percentile is None or percent == 0 else first_bn_var_percentile
    return Band(
        mean=target[0],
        var=target[1],
        mean_slack=slack(target[0] - reference[0], percent),
        var_slack=slack(target[1] - reference[1], var_percent),
        weight=weight,
        form=form,
    )


def network_bands(
    targets: Sequence[Moments],
    references: Sequence[Moments],
    percent: float,
    form: str,
    first_bn_var_percentile: float | None = None,
    weights: Sequence[float] | None = None,
) -> list[Band]:
    """``band`` of every BN layer of a network, in layer order; the variance's exception goes to the first alone."""
    factors = [1.0] * len(targets) if weights is None else weights
    layers = zip(targets, references, factors, strict=True)
    return [
        band(target, reference, percent, form, None if index else first_bn_var_percentile, weight)
        for index, (target, reference, weight) in enumerate(layers)
    ]


def moment_loss(moments: Sequence[Moments], bands: Sequence[Band], first_bn_multiplier: float = 1.0) -> Tensor:
    """Relaxed moment loss of each group of images, Σ_l w_l·[hinge(mean) + hinge(variance)].

    Args:
        moments: for every BN layer the groups' means and variances, each [G, C_l].
        bands: for every BN layer its band.
        first_bn_multiplier: further factor of the first layer.

    Returns:
        [G]. A group's value depends on that group alone, so the gradient of the sum is each group's own gradient.
    """
    if not bands or len(moments) != len(bands):
        raise ValueError(f"{len(moments)} layers of moments for {len(bands)} bands")
    total = torch.zeros_like(moments[0][0][..., 0])
    for index, ((mean, var), layer) in enumerate(zip(moments, bands, strict=True)):
        weight = layer.weight * (first_bn_multiplier if index == 0 else 1.0)
        if weight == 0:
            continue
        off_mean = hinge_norm(mean - layer.mean, layer.mean_slack, layer.form)
        off_var = hinge_norm(var - layer.var, layer.var_slack, layer.form)
        total = total + weight * (off_mean + off_var)
    return total


def _scaled_slack(differences: Tensor, percent: float) -> Tensor:
    return _fraction(percent) * differences.abs()


def _fraction(percent: float) -> float:
    if not 0 <= percent <= 100:
        raise ConfigError(f"The relaxation is {percent} per cent. Allowed: 0 to 100. Type for example: 70")
    return percent / 100
