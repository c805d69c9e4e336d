"""Views of synthetic images while they are recovered: crop, mirror image and roll, one draw for a whole group.

A view is two matrices a group, rows and columns of interpolation weights, so that it is differentiable by matrix products:
these have the same bits on every run of a device, which the backward pass of a sampling grid has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dfdgbench.datasets.feed.boxes import box_uniforms, crop_boxes

RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class SharedViews:
    """Views of G groups over T steps.

    Attributes:
        boxes: top, left, height, width in pixels, [T, G, 4].
        flips: bool [T, G].
        rolls: shift down and to the right in pixels, [T, G, 2].
    """

    boxes: Tensor
    flips: Tensor
    rolls: Tensor

    @classmethod
    def draw(
        cls, steps: int, size: int, crop: float, flip: bool, roll: int, generators: Sequence[torch.Generator]
    ) -> SharedViews:
        """One draw a step and generator: area from ``crop`` to 1, ratio from 3/4 to 4/3, rolls from 0 to ``roll`` pixels."""
        boxes, flips, rolls = [], [], []
        for generator in generators:
            area, aspect, place = box_uniforms(steps, (crop, 1.0), RATIO, generator)
            boxes.append(torch.from_numpy(crop_boxes(area, aspect, place, RATIO, size, size).astype(np.float32)))
            flips.append((torch.rand(steps, generator=generator) < 0.5) & flip)
            rolls.append(torch.randint(roll + 1, (steps, 2), generator=generator))
        return cls(torch.stack(boxes, 1), torch.stack(flips, 1), torch.stack(rolls, 1))

    def to(self, device: torch.device) -> SharedViews:
        """The same, there."""
        return SharedViews(self.boxes.to(device), self.flips.to(device), self.rolls.to(device))

    def see(self, images: Tensor, step: int, groups: slice = slice(None)) -> Tensor:
        """What ``groups`` look like at ``step``: [G, B, C, S, S] -> [G, B, C, S, S]."""
        boxes, flips, rolls = self.boxes[step, groups], self.flips[step, groups], self.rolls[step, groups]
        side = images.shape[-1]
        rows = _rolled(_positions(boxes[:, 0], boxes[:, 2], side), rolls[:, 0])
        columns = _positions(boxes[:, 1], boxes[:, 3], side)
        columns = _rolled(torch.where(flips[:, None], columns.flip(1), columns), rolls[:, 1])
        cut = torch.einsum("gij,gbcjk->gbcik", _weights(rows, side), images)
        return torch.einsum("gbcik,glk->gbcil", cut, _weights(columns, side))


def _positions(start: Tensor, length: Tensor, side: int) -> Tensor:
    """The pixel, as a fraction, that each of ``side`` pixels of a stretched interval is taken from: [G] -> [G, side]."""
    centres = torch.arange(side, device=start.device, dtype=start.dtype) + 0.5
    inside = (centres * length[:, None] / side - 0.5).clamp(min=0).minimum(length[:, None] - 1)
    return start[:, None] + inside


def _rolled(positions: Tensor, shifts: Tensor) -> Tensor:
    """Positions [G, side] after a cyclic shift by [G] pixels."""
    side = positions.shape[1]
    source = (torch.arange(side, device=positions.device) - shifts[:, None]) % side
    return positions.gather(1, source)


def _weights(positions: Tensor, side: int) -> Tensor:
    """Linear interpolation as a matrix: [G, made] -> [G, made, side]."""
    pixels = torch.arange(side, device=positions.device, dtype=positions.dtype)
    return (1 - (positions[..., None] - pixels).abs()).clamp(min=0)
