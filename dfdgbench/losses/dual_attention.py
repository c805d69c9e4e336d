"""SFDA's dual attention: how positions and channels of a feature map relate (Eq. 6 to 10).

Features F are [B, N, C]: N positions of C channels. Spatial energies F Fᵀ and channel energies Fᵀ F become distributions by a
softmax over each row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Energies = Literal["none", "sqrt", "l2_energy", "cos"]
Direction = Literal["fake_target", "target_fake"]
Pairing = Literal["same", "batch_mean"]
Maps = tuple[Tensor, Tensor]
"""Of positions [B, N, N] and of channels [B, C, C]."""


@dataclass(frozen=True)
class Attention:
    """How the maps are made.

    Attributes:
        energies: what features are divided by before energies are taken: "none" (as printed; saturates to the identity),
            "sqrt" (energies by the root of the number of summands), "l2_energy" (features by their length at every
            position), or "cos" (the same, and each channel by its length over positions for the channel energies).
        temperature: what the energies of "cos" are multiplied with.
        channel_invert: take channel energies from their row's maximum, as DANet does, which turns the order around.
    """

    energies: Energies = "l2_energy"
    temperature: float = 1.0
    channel_invert: bool = False

    def log_maps(self, features: Tensor) -> Maps:
        """Logarithms of the spatial map [B, N, N] and of the channel map [B, C, C]; every row's exponentials sum to 1
        (Eq. 8, 9)."""
        positions = channels = features
        if self.energies in ("l2_energy", "cos"):
            positions = channels = functional.normalize(features, dim=2)
        if self.energies == "cos":
            channels = functional.normalize(features, dim=1)
        spatial, channel = positions @ positions.transpose(1, 2), channels.transpose(1, 2) @ channels
        if self.energies == "sqrt":
            spatial, channel = spatial / features.shape[2] ** 0.5, channel / features.shape[1] ** 0.5
        if self.energies == "cos":
            spatial, channel = spatial * self.temperature, channel * self.temperature
        if self.channel_invert:
            channel = channel.amax(2, keepdim=True) - channel
        return spatial.log_softmax(2), channel.log_softmax(2)

    def attended(self, features: Tensor, logs: Maps | None = None) -> Tensor:
        """Features attended by positions and by channels, side by side, [B, N, 2 C] (Eq. 10).

        Row j of the first half is the mean of all positions under row j of the spatial map; column j of the second that of
        all channels under row j of the channel map. (As printed, the shapes do not conform.)

        Args:
            logs: their :meth:`log_maps`, where these are at hand.
        """
        # Always from logarithms: equal features then differ by nothing, whichever of them had these at hand.
        spatial, channel = (each.exp() for each in logs or self.log_maps(features))
        return torch.cat([spatial @ features, features @ channel.transpose(1, 2)], 2)

    def distance(self, one: Tensor, other: Tensor, logs_of_other: Maps | None = None) -> Tensor:
        """Mean absolute difference of two attended features (Eq. 6)."""
        return (self.attended(one) - self.attended(other, logs_of_other)).abs().mean()

    @torch.no_grad()
    def flatness(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean entropies of the spatial and of the channel map's rows, from 0 (one entry) to 1 (all alike)."""
        spatial, channel = (-(log.exp() * log).sum(2).mean() for log in self.log_maps(features))
        return spatial / _log(features.shape[1]), channel / _log(features.shape[2])


def divergence_of_maps(
    fake: Maps, target: Maps, direction: Direction = "fake_target", pairing: Pairing = "same"
) -> Tensor:
    """Kullback-Leibler divergence of both maps of ``fake`` from those of ``target``, mean over rows and the batch (Eq. 7),
    from their logarithms, so that saturated maps stay finite.

    Args:
        direction: "fake_target" is KL(fake || target).
        pairing: compare maps of the same place in the batch, or the batches' mean maps.
    """
    total = fake[0].new_zeros(())
    for p, q in zip(fake, target, strict=True):
        if pairing == "batch_mean":
            p, q = _log_mean(p), _log_mean(q)
        total = total + (kl_of_logs(p, q) if direction == "fake_target" else kl_of_logs(q, p))
    return total


def rows(maps: Tensor) -> Tensor:
    """Feature maps [B, C, H, W] as [B, H W, C], contiguous: products and norms of them are quicker."""
    return maps.flatten(2).transpose(1, 2).contiguous()


def kl_of_logs(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of distributions along the last dimension, given their logarithms; mean over all others."""
    return (p.exp() * (p - q)).sum(-1).mean()


def _log_mean(logs: Tensor) -> Tensor:
    return logs.logsumexp(0, keepdim=True) - _log(logs.shape[0])


def _log(count: int) -> Tensor:
    return torch.tensor(float(max(count, 1))).log()
