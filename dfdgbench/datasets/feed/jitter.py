"""The augmentation inside an inversion loop: one shift, flip and erased box a group of images, drawn for all steps.

The draws come from a CPU generator that is given and from nothing else, so they depend neither on the device nor on global
state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from dfdgbench.datasets.feed.boxes import box_uniforms, boxes_of, require

ERASE_AREA = (0.02, 0.33)
ERASE_ASPECT = (0.3, 3.3)


@dataclass(frozen=True, eq=False)
class Jitter:
    """The shifts, flips and erased boxes of S steps for G groups of images.

    Attributes:
        dy: rows to roll down, [S, G] int64.
        dx: columns to roll right, [S, G] int64.
        flip: whether to mirror left to right, [S, G] bool.
        box: top, left, height and width of the erased box, all 0 for none, [S, G, 4] int64.
    """

    dy: Tensor
    dx: Tensor
    flip: Tensor
    box: Tensor

    def to(self, device: torch.device | str) -> Jitter:
        """The same schedule on ``device``, so that no step waits for the host."""
        return Jitter(self.dy.to(device), self.dx.to(device), self.flip.to(device), self.box.to(device))

    @staticmethod
    def join(parts: Sequence[Jitter]) -> Jitter:
        """One schedule for the groups of all ``parts``, in their order; they have equally many steps."""
        return Jitter(
            dy=torch.cat([part.dy for part in parts], 1),
            dx=torch.cat([part.dx for part in parts], 1),
            flip=torch.cat([part.flip for part in parts], 1),
            box=torch.cat([part.box for part in parts], 1),
        )


def draw_jitter(
    steps: int, groups: int, size: int, max_shift: int, flip: bool, erase: float, generator: Generator
) -> Jitter:
    """Draw the augmentation of a whole inversion run.

    Group after group is drawn, and every draw is made whatever the options, so a group's schedule depends neither on
    how many groups follow it nor on an option that is switched off.

    Args:
        steps: number of steps.
        groups: number of groups.
        size: side of the images in pixels.
        max_shift: shifts are uniform over the integers in [-max_shift, max_shift].
        flip: whether groups are mirrored, with probability 1/2.
        erase: probability of an erased box, of 2 to 33 % of the area and an aspect of 0.3 to 3.3.
        generator: a CPU generator.
    """
    require(max_shift >= 0, "max_shift", max_shift, "0 or more pixels", 2)
    require(0 <= erase <= 1, "erase", erase, "0 to 1", 0.5)
    return Jitter.join([_draw_group(steps, size, max_shift, flip, erase, generator) for _ in range(groups)])


def apply_jitter(images: Tensor, jitter: Jitter, step: int) -> Tensor:
    """Roll, then mirror, then erase (to 0) each group by its own row of one step. Differentiable.

    Args:
        images: [G, B, C, H, W].
        jitter: a schedule for G groups, on the images' device.
        step: 0 to S - 1.

    Returns:
        [G, B, C, H, W]. A group's result depends on that group alone.
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    seen = torch.where(jitter.flip[step, :, None], columns.flip(0), columns)
    source = ((rows - jitter.dy[step, :, None]) % height)[:, :, None] * width
    source = source + ((seen - jitter.dx[step, :, None]) % width)[:, None, :]
    index = source.flatten(1)[:, None, None, :].expand(*images.shape[:3], -1)
    moved = images.flatten(3).gather(3, index).view(images.shape)
    top, left, tall, wide = jitter.box[step, :, :, None].unbind(1)
    in_rows = (rows >= top) & (rows < top + tall)
    in_columns = (columns >= left) & (columns < left + wide)
    erased = in_rows[:, :, None] & in_columns[:, None, :]
    return moved.masked_fill(erased[:, None, None], 0.0)


def _draw_group(steps: int, size: int, max_shift: int, flip: bool, erase: float, generator: Generator) -> Jitter:
    shifts = torch.randint(-max_shift, max_shift + 1, (2, steps, 1), generator=generator)
    flips = torch.rand((steps, 1), generator=generator) < 0.5
    erased = torch.rand((steps, 1), generator=generator) < erase
    # Torchvision states the aspect of an erased box as height over width, that of a crop the other way round, and
    # erases no box as high or as wide as the image.
    ratio = (1 / ERASE_ASPECT[1], 1 / ERASE_ASPECT[0])
    drawn = box_uniforms(steps, ERASE_AREA, ratio, generator)
    boxes, found = boxes_of(*drawn, heights=size, widths=size, largest=(size - 1, size - 1))
    kept = erased & torch.from_numpy(found)[:, None]
    return Jitter(shifts[0], shifts[1], flips & flip, (torch.from_numpy(boxes) * kept)[:, None, :])
