"""Augmentation of batches of images that are tensors in [0, 1].

``BatchAugment`` is the training augmentation: every image gets parameters of its own. ``Jitter`` is the augmentation
inside an inversion loop: one shift, flip and erased box for a whole group of images, drawn for all steps beforehand.
Both draw from a CPU generator they are given and from nothing else, so the parameters depend neither on the device nor
on global state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import grid_sample

from dfdgbench.errors import ConfigError

LUMA = (0.2989, 0.587, 0.114)
"""ITU-R 601 weights of red, green and blue in grey, to the digits torchvision has."""

ERASE_AREA = (0.02, 0.33)
ERASE_ASPECT = (0.3, 3.3)
BOX_ATTEMPTS = 10

Size = tuple[int, int]
Range = tuple[float, float]


@dataclass(frozen=True)
class BatchAugment:
    """Random resized crop, mirror image, colour jitter and greyscale, in this order, drawn for each image.

    The operations are torchvision's (bilinear without antialiasing, tensors clamped to [0, 1] after each colour step);
    only the order of the colour steps is fixed: brightness, contrast, saturation, hue.

    Attributes:
        crop_scale: area of the crop as a fraction of the image's, lowest and highest.
        ratio: width over height of the crop, lowest and highest.
        hflip: whether images are mirrored, with probability 1/2.
        jitter: factors of brightness, contrast and saturation lie in [1 - jitter, 1 + jitter].
        hue: the hue turns by at most this fraction of a full circle.
        grayscale: probability that the colours are dropped.
    """

    crop_scale: Range = (0.7, 1.0)
    ratio: Range = (3 / 4, 4 / 3)
    hflip: bool = False
    jitter: float = 0.3
    hue: float = 0.0
    grayscale: float = 0.1

    def __post_init__(self) -> None:
        (small, large), (narrow, broad) = self.crop_scale, self.ratio
        _require(0 < small <= large <= 1, "crop_scale", self.crop_scale, "0 < low <= high <= 1", (0.7, 1.0))
        _require(0 < narrow <= broad, "ratio", self.ratio, "0 < low <= high", (0.75, 1.33))
        _require(0 <= self.jitter <= 1, "jitter", self.jitter, "0 to 1", 0.3)
        _require(0 <= self.hue <= 0.5, "hue", self.hue, "0 to 0.5", 0.3)
        _require(0 <= self.grayscale <= 1, "grayscale", self.grayscale, "0 to 1", 0.1)

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Augmented copies of ``images`` [B, 3, H, W], which lie in [0, 1]; so does the result, of the same shape.

        The draws are the same in number whatever the options, so switching one off leaves the others' draws alone.
        """
        count, height, width = images.shape[0], images.shape[-2], images.shape[-1]
        boxes = _crop_boxes(count, (height, width), self.crop_scale, self.ratio, generator)
        flips, factors, turns, greys = (
            torch.rand((count,), generator=generator) < 0.5,
            1 + self.jitter * (2 * torch.rand((3, count, 1, 1, 1), generator=generator) - 1),
            self.hue * (2 * torch.rand((count, 1, 1), generator=generator) - 1),
            torch.rand((count, 1, 1, 1), generator=generator) < self.grayscale,
        )
        images = resized_crop(images, boxes, flips if self.hflip else None)
        if self.jitter:
            brightness, contrast, saturation = factors.to(images)
            images = _blend(images, None, brightness)
            images = _blend(images, _grey(images).mean((-2, -1), keepdim=True), contrast)
            images = _blend(images, _grey(images), saturation)
        if self.hue:
            images = _turn_hue(images, turns.to(images))
        if self.grayscale:
            images = torch.where(greys.to(images.device), _grey(images), images)
        return images.clamp(0, 1)


def resized_crop(images: Tensor, boxes: Tensor, flips: Tensor | None = None) -> Tensor:
    """Cut a box out of each image and enlarge it, bilinearly, to the image's size.

    Args:
        images: [B, C, H, W].
        boxes: top, left, height and width in pixels, inside the image, [B, 4] integers.
        flips: [B] bool, where the result is mirrored left to right.

    Returns:
        [B, C, H, W].
    """
    count, height, width = images.shape[0], images.shape[-2], images.shape[-1]
    rows = _source(boxes[:, 0], boxes[:, 2], height).to(images)
    columns = _source(boxes[:, 1], boxes[:, 3], width).to(images)
    if flips is not None:
        columns = torch.where(flips.to(images.device)[:, None], columns.flip(1), columns)
    shape = (count, height, width)
    grid = torch.stack((columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)), dim=-1)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


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
    _require(max_shift >= 0, "max_shift", max_shift, "0 or more pixels", 2)
    _require(0 <= erase <= 1, "erase", erase, "0 to 1", 0.5)
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
    boxes, found = _draw_boxes(steps, (size, size), (size - 1, size - 1), ERASE_AREA, ratio, generator)
    kept = erased & found[:, None]
    return Jitter(shifts[0], shifts[1], flips & flip, (boxes * kept)[:, None, :])


def _crop_boxes(count: int, size: Size, scale: Range, ratio: Range, generator: Generator) -> Tensor:
    boxes, found = _draw_boxes(count, size, size, scale, ratio, generator)
    height, width = size
    tall, wide = min(height, round(width / ratio[0])), min(width, round(height * ratio[1]))
    central = torch.tensor(((height - tall) // 2, (width - wide) // 2, tall, wide))
    return torch.where(found[:, None], boxes, central)


def _draw_boxes(
    count: int, size: Size, largest: Size, scale: Range, ratio: Range, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Boxes [count, 4] of random area and log-uniform width/height, and where one of ten attempts fitted, [count]."""
    height, width = size
    area, shape = torch.rand((2, count, BOX_ATTEMPTS), generator=generator, dtype=torch.float64)
    place = torch.rand((2, count), generator=generator, dtype=torch.float64)
    pixels = height * width * (scale[0] + (scale[1] - scale[0]) * area)
    aspect = torch.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * shape)
    tall, wide = (pixels / aspect).sqrt().round(), (pixels * aspect).sqrt().round()
    fits = (tall >= 1) & (tall <= largest[0]) & (wide >= 1) & (wide <= largest[1])
    first = fits.int().argmax(1, keepdim=True)
    tall, wide = tall.gather(1, first)[:, 0], wide.gather(1, first)[:, 0]
    top, left = (place[0] * (height - tall + 1)).floor(), (place[1] * (width - wide + 1)).floor()
    return torch.stack((top, left, tall, wide), 1).long(), fits.any(1)


def _source(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Where in the image, in [-1, 1], each of ``size`` pixels of an enlarged interval lies: [B], [B] to [B, size]."""
    start, length = start.double()[:, None], length.double()[:, None]
    centres = torch.arange(size, dtype=torch.float64, device=start.device) + 0.5
    # What lies beside the box must not be seen: its border pixels extend outwards.
    inside = (centres * length / size).clamp(min=0.5).minimum(length - 0.5)
    return 2 * (start + inside) / size - 1


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(1)


def _blend(images: Tensor, other: Tensor | None, factor: Tensor) -> Tensor:
    """factor·images + (1 - factor)·other, clamped to [0, 1]; black where there is no other."""
    mixed = images * factor
    return (mixed if other is None else mixed + (1 - factor) * other).clamp(0, 1)


def _turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Add ``turn`` (of a full circle, [B, 1, 1]) to the hue, keeping the value and saturation of HSV."""
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    safe = torch.where(chroma == 0, 1.0, chroma)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + 6 * turn
    distances = [(offset + sixth) % 6 for offset in (5, 3, 1)]
    return torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in distances], 1)


def _require(holds: bool, name: str, given: object, allowed: str, example: object) -> None:
    if not holds:
        raise ConfigError(f"The augmentation's {name} is {given}. Allowed: {allowed}. Type for example: {example}")
