"""What G-VBSM matches at a convolution: moments of channels and of tiles, in a moving average."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

SIDE = 16


def tiled_side(side: int) -> int:
    """The next multiple of 16, to which a map of ``side`` is resized before it is cut into tiles."""
    return -(-side // SIDE) * SIDE


def tile_moments(entered: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of every 16 x 16 tile over batch, channels and pixels: [B, C, H, W] -> two tensors [P].

    Tiles are numbered row by row. A map whose sides are no multiples of 16 is resized bilinearly first.
    """
    rows, columns = (tiled_side(side) for side in entered.shape[-2:])
    if (rows, columns) != tuple(entered.shape[-2:]):
        entered = interpolate(entered, size=(rows, columns), mode="bilinear", align_corners=False)
    batch, channels = entered.shape[:2]
    tiles = entered.reshape(batch, channels, rows // SIDE, SIDE, columns // SIDE, SIDE)
    variance, mean = torch.var_mean(tiles, dim=(0, 1, 3, 5), correction=0)
    return mean.flatten(), variance.flatten()


def channel_moments(entered: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of every channel over batch and pixels: [B, C, H, W] -> two tensors [C]."""
    variance, mean = torch.var_mean(entered, dim=(0, 2, 3), correction=0)
    return mean, variance


def convolution_statistics(entered: Tensor) -> tuple[Tensor, ...]:
    """Channel mean and variance [C], tile mean and variance [P] of what enters a convolution."""
    return *channel_moments(entered), *tile_moments(entered)


class MovingAverage:
    """Exponential averages of one hook's statistics: ``ema <- a * ema + (1 - a) * now``.

    The value is that of the average, the gradient that of the statistic itself with weight 1, as in score distillation.

    Args:
        a: weight of the past.
        start: "zero" as the reference does (the first average is 0.6 of the first statistic at a = 0.4), or "first".
    """

    def __init__(self, a: float = 0.4, start: str = "zero") -> None:
        self.a, self.start = a, start
        self.held: list[Tensor] = []

    def state_dict(self) -> dict[str, list[Tensor]]:
        """The averages, for a snapshot."""
        return {"held": [one.cpu() for one in self.held]}

    def load_state_dict(self, saved: dict[str, list[Tensor]]) -> None:
        """Go on from a snapshot's averages."""
        self.held = list(saved["held"])

    def __call__(self, now: Sequence[Tensor]) -> list[Tensor]:
        """The averages after ``now``, through which the gradient reaches ``now`` unweighted."""
        fixed = [one.detach() for one in now]
        if not self.held:
            self.held = [torch.zeros_like(one) for one in fixed] if self.start == "zero" else fixed
        self.held = [self.a * old.to(new) + (1 - self.a) * new for old, new in zip(self.held, fixed, strict=True)]
        return [ema + one - one.detach() for ema, one in zip(self.held, now, strict=True)]


def distances(targets: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
    """Sum of the Euclidean norms (not squared) of ``target - value``."""
    norms = [torch.linalg.vector_norm(target - value) for target, value in zip(targets, values, strict=True)]
    return torch.stack(norms).sum()
