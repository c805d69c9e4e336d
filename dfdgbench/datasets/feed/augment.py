"""The training augmentation of DomainBed: every image gets parameters of its own.

Drawing and applying are apart. What is drawn depends on a CPU generator and nothing else; it is applied to files by PIL, to
stored images by OpenCV (``pixels``), or, here, to tensors in batches on any device. The three agree but for rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import grid_sample

from dfdgbench.datasets.feed.boxes import Range, box_uniforms, require
from dfdgbench.datasets.feed.pixels import Drawing

LUMA = (0.2989, 0.587, 0.114)
"""ITU-R 601 weights of red, green and blue in grey, to the digits torchvision has."""


@dataclass(frozen=True)
class BatchAugment:
    """Random resized crop, mirror image, colour jitter and greyscale, in this order, drawn for each image.

    Attributes:
        crop_scale: area of the crop as a fraction of the image's, lowest and highest.
        ratio: width over height of the crop, lowest and highest.
        hflip: whether images are mirrored, with probability 1/2.
        jitter: factors of brightness, contrast and saturation lie in [1 - jitter, 1 + jitter].
        hue: the hue turns by at most this fraction of a full circle.
        grayscale: probability that the colours are dropped.
        shuffled: whether the colour steps come in a random order, as in torchvision; else brightness, contrast,
            saturation, hue.
        squashed: whether images are squashed to squares before they are cropped; for crops of ratio 1 alone.
    """

    crop_scale: Range = (0.7, 1.0)
    ratio: Range = (3 / 4, 4 / 3)
    hflip: bool = False
    jitter: float = 0.3
    hue: float = 0.0
    grayscale: float = 0.1
    shuffled: bool = False
    squashed: bool = False

    def __post_init__(self) -> None:
        (small, large), (narrow, broad) = self.crop_scale, self.ratio
        require(0 < small <= large <= 1, "crop_scale", self.crop_scale, "0 < low <= high <= 1", (0.7, 1.0))
        require(0 < narrow <= broad, "ratio", self.ratio, "0 < low <= high", (0.75, 1.33))
        require(0 <= self.jitter <= 1, "jitter", self.jitter, "0 to 1", 0.3)
        require(0 <= self.hue <= 0.5, "hue", self.hue, "0 to 0.5", 0.3)
        require(0 <= self.grayscale <= 1, "grayscale", self.grayscale, "0 to 1", 0.1)
        square = not self.squashed or self.ratio == (1, 1)
        require(square, "ratio", self.ratio, "(1, 1) where images are squashed", (1.0, 1.0))

    def draw(self, count: int, generator: Generator) -> Drawing:
        """What is done to each of ``count`` images.

        The draws are the same in number whatever the options, so switching one off leaves the others' draws alone.
        """
        area, aspect, place = box_uniforms(count, self.crop_scale, self.ratio, generator)
        flip = torch.rand((count,), generator=generator) < 0.5
        factors = 1 + self.jitter * (2 * torch.rand((3, count), generator=generator) - 1)
        turn = self.hue * (2 * torch.rand((count,), generator=generator) - 1)
        grey = torch.rand((count,), generator=generator) < self.grayscale
        order = torch.arange(4).expand(count, 4)
        if self.shuffled:
            order = torch.rand((count, 4), generator=generator).argsort(1)
        return Drawing(
            area=area,
            aspect=aspect,
            place=place,
            ratio=self.ratio,
            squashed=self.squashed,
            flip=(flip & self.hflip).numpy(),
            order=order.numpy(),
            factors=factors.numpy(),
            turn=turn.numpy(),
            grey=grey.numpy(),
        )

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Augmented copies of ``images`` [B, 3, H, W], which lie in [0, 1]; so does the result, of the same shape."""
        height, width = images.shape[-2:]
        drawn = self.draw(len(images), generator)
        return apply(images, drawn, drawn.boxes(height, width).astype(np.float64), (height, width))


def apply(images: Tensor, drawn: Drawing, boxes: np.ndarray, size: tuple[int, int]) -> Tensor:
    """``drawn``, done to a batch of tensors on their device.

    The operations are torchvision's on tensors: bilinear without antialiasing, clamped to [0, 1] after each colour step.

    Args:
        images: float [B, 3, H, W] in [0, 1].
        boxes: top, left, height and width of the crops in pixels of ``images``, [B, 4].
        size: height and width of the result.

    Returns:
        float [B, 3, *size] in [0, 1].
    """
    flips = torch.from_numpy(drawn.flip)
    images = resized_crop(images, torch.from_numpy(boxes), flips if drawn.flip.any() else None, size)
    images = _colours(images, drawn)
    if drawn.grey.any():
        greys = torch.from_numpy(drawn.grey)[:, None, None, None].to(images.device)
        images = torch.where(greys, _grey(images), images)
    return images.clamp(0, 1)


def _colours(images: Tensor, drawn: Drawing) -> Tensor:
    """Brightness, contrast, saturation and hue, each image's in its own order: at every turn the images of one step together."""
    if not len(images):
        return images
    same = (drawn.order == drawn.order[:1]).all()
    for turn in range(drawn.order.shape[1]):
        if same:
            images = _step(images, int(drawn.order[0, turn]), drawn, np.arange(len(images)))
            continue
        for step in range(4):
            rows = np.flatnonzero(drawn.order[:, turn] == step)
            if len(rows):
                chosen = torch.from_numpy(rows).to(images.device)
                images = images.index_copy(0, chosen, _step(images.index_select(0, chosen), step, drawn, rows))
    return images


def _step(images: Tensor, step: int, drawn: Drawing, rows: np.ndarray) -> Tensor:
    if step == 3:
        turns = drawn.turn[rows]
        return _turn_hue(images, torch.from_numpy(turns)[:, None, None].to(images)) if turns.any() else images
    factors = drawn.factors[step, rows]
    if (factors == 1).all():
        return images
    factor = torch.from_numpy(factors)[:, None, None, None].to(images)
    if step == 0:
        return _blend(images, None, factor)
    grey = _grey(images)
    return _blend(images, grey.mean((-2, -1), keepdim=True) if step == 1 else grey, factor)


def resized_crop(
    images: Tensor, boxes: Tensor, flips: Tensor | None = None, size: tuple[int, int] | None = None
) -> Tensor:
    """Cut a box out of each image and stretch it, bilinearly, to ``size`` (default: the image's).

    Args:
        images: [B, C, H, W].
        boxes: top, left, height and width in pixels, inside the image, [B, 4].
        flips: [B] bool, where the result is mirrored left to right.

    Returns:
        [B, C, *size].
    """
    count, height, width = images.shape[0], images.shape[-2], images.shape[-1]
    tall, wide = size or (height, width)
    rows = _source(boxes[:, 0], boxes[:, 2], height, tall).to(images)
    columns = _source(boxes[:, 1], boxes[:, 3], width, wide).to(images)
    if flips is not None:
        columns = torch.where(flips.to(images.device)[:, None], columns.flip(1), columns)
    shape = (count, tall, wide)
    grid = torch.stack((columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)), dim=-1)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _source(start: Tensor, length: Tensor, size: int, made: int) -> Tensor:
    """Where in an image of ``size`` pixels, in [-1, 1], each of ``made`` pixels of a stretched interval lies: [B] to [B, made]."""
    start, length = start.double()[:, None], length.double()[:, None]
    centres = torch.arange(made, dtype=torch.float64, device=start.device) + 0.5
    # What lies beside the box must not be seen: its border pixels extend outwards.
    inside = (centres * length / made).clamp(min=0.5).minimum(length - 0.5)
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
