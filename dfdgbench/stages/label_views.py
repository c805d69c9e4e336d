"""How images are seen while they are labelled, and again while a student learns: drawn once, replayed to the bit.

What is drawn are integers (pixels, indices), so that a replay needs no rounding, and the shares of a mixture as float32.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from dfdgbench.datasets.feed.augment import resized_crop
from dfdgbench.datasets.feed.boxes import box_uniforms, crop_boxes
from dfdgbench.networks.transfer import TransferNetwork
from dfdgbench.seeds import generator, seed_hash

RAW = 255
"""In place of a style: the image as it is."""


class ViewOptions(Protocol):
    """What of the label hyper-parameters decides views; see ``Relabelling``."""

    @property
    def crop(self) -> float: ...

    @property
    def cutmix(self) -> float: ...

    @property
    def partners(self) -> str: ...

    @property
    def shuffle_cells(self) -> bool: ...


@dataclass(frozen=True)
class Mixture:
    """Which styles images are rendered in (domain style mixing).

    Attributes:
        styles: E; 0 for no rendering.
        alpha: of Beta(alpha, alpha), from which the first style's share is drawn.
        share: the first style's share, where it is not drawn; 1 for pure styles.
        distinct: whether the second style is another one.
        expand: whether every image is shown in every style in an epoch, and not in one that is drawn.
        include_raw: whether images are shown as they are, too.
    """

    styles: int = 0
    alpha: float = 0.1
    share: float | None = None
    distinct: bool = True
    expand: bool = False
    include_raw: bool = False

    def shown(self, images: int) -> int:
        """Images that an epoch shows."""
        return images * ((self.styles if self.expand else 1) + self.include_raw) if self.styles else images


@dataclass(frozen=True, eq=False)
class EpochViews:
    """One epoch's draws for n shown images in batches; images in the order in which they are shown.

    Attributes:
        order: which image, int32 [n].
        crops: top, left, height, width in pixels, int16 [n, 4].
        flips: bool [n].
        cells: bit 0: the column halves are exchanged, bit 1: the row halves; uint8 [n].
        partners: place in the batch of who is mixed in, int16 [n].
        styles: first and second style, uint8 [n, 2]; RAW for none.
        style_shares: of the first style, float32 [n].
        shares: lambda of CutMix, float32 [batches].
        boxes: top, left, bottom, right of what is taken from the partner, int16 [batches, 4].
    """

    order: Tensor
    crops: Tensor
    flips: Tensor
    cells: Tensor
    partners: Tensor
    styles: Tensor
    style_shares: Tensor
    shares: Tensor
    boxes: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """By name, as records hold them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def draw_epoch(
    options: ViewOptions, mixture: Mixture, owners: Tensor, epoch: int, *, seed: int, size: int, batch: int, flip: bool
) -> EpochViews:
    """The views of one epoch, a pure function of ``seed`` and ``epoch``.

    Args:
        owners: the part of the set that each image is of, [n]; CutMix partners are of the same part, or with the option
            "any" of any.
        size: side of the images; batch: images a batch, the last one may be smaller.
    """
    torch_draw, draw = generator(seed, "views", epoch), np.random.default_rng(seed_hash(seed, "mixing", epoch))
    images, first = _shown(len(owners), mixture)
    shuffled = torch.randperm(len(images), generator=torch_draw)
    images, first = images[shuffled], first[shuffled]
    count = len(images)
    area, aspect, place = box_uniforms(count, (options.crop, 1.0), (3 / 4, 4 / 3), torch_draw)
    crops = crop_boxes(area, aspect, place, (3 / 4, 4 / 3), size, size)
    flips = (torch.rand(count, generator=torch_draw) < 0.5) & flip
    cells = torch.randint(4, (count,), generator=torch_draw) * options.shuffle_cells
    styles, style_shares = _styles(first, mixture, draw)
    starts = range(0, count, batch)
    shares = draw.beta(options.cutmix, options.cutmix, len(starts)) if options.cutmix else np.ones(len(starts))
    centres = draw.integers(0, size, (len(starts), 2))
    boxes = [cutmix_box(float(share), size, *map(int, centre)) for share, centre in zip(shares, centres, strict=True)]
    parts = owners if options.partners == "own" else torch.zeros_like(owners)
    partners = [_partners(parts[images[start : start + batch]], draw) for start in starts]
    return EpochViews(
        order=images.to(torch.int32),
        crops=torch.from_numpy(crops.astype(np.int16)),
        flips=flips,
        cells=cells.to(torch.uint8),
        partners=torch.cat(partners).to(torch.int16),
        styles=styles.to(torch.uint8),
        style_shares=style_shares,
        shares=torch.from_numpy(shares.astype(np.float32)),
        boxes=torch.tensor(boxes, dtype=torch.int16),
    )


def _shown(images: int, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Image and style (-1: to be drawn) of everything that an epoch shows."""
    every = torch.arange(images)
    wanted = list(range(mixture.styles)) if mixture.expand and mixture.styles else [-1]
    wanted += [RAW] if mixture.include_raw and mixture.styles else []
    return every.repeat(len(wanted)), torch.tensor(wanted).repeat_interleave(images)


def _styles(first: Tensor, mixture: Mixture, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Styles [n, 2] and shares [n] of the first."""
    count = len(first)
    if not mixture.styles:
        return torch.full((count, 2), RAW), torch.ones(count)
    drawn = torch.from_numpy(draw.integers(0, mixture.styles, count))
    one = torch.where(first < 0, drawn, first)
    if mixture.distinct and mixture.styles > 1:
        step = torch.from_numpy(draw.integers(1, mixture.styles, count))
        two = (one + step) % mixture.styles
    else:
        two = torch.from_numpy(draw.integers(0, mixture.styles, count))
    shares = beta_shares(mixture.alpha, count, draw) if mixture.share is None else np.full(count, mixture.share)
    two = torch.where(one == RAW, RAW, two)
    return torch.stack((one, two), 1), torch.from_numpy(np.asarray(shares, dtype=np.float32))


def beta_shares(alpha: float, count: int, draw: np.random.Generator) -> np.ndarray:
    """Draws [count] of Beta(alpha, alpha)."""
    return draw.beta(alpha, alpha, count)


def _partners(owners: Tensor, draw: np.random.Generator) -> Tensor:
    """A permutation [B] of a batch that stays within each owner."""
    partners = np.arange(len(owners))
    for owner in np.unique(owners.numpy()):
        places = np.flatnonzero(owners.numpy() == owner)
        partners[places] = draw.permutation(places)
    return torch.from_numpy(partners)


def cutmix_box(share: float, size: int, row: int, column: int) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of the box about (row, column) that takes 1 - ``share`` of an image, clipped to it."""
    half = int(size * (1 - share) ** 0.5) // 2
    if half == 0:
        return 0, 0, 0, 0
    edges = (row - half, column - half, row + half, column + half)
    top, left, bottom, right = (min(max(edge, 0), size) for edge in edges)
    return top, left, bottom, right


def show(
    views: EpochViews,
    batch: int,
    size: int,
    images: Tensor,
    transfer: TransferNetwork | None = None,
    *,
    together: int = 1,
) -> tuple[Tensor, Tensor]:
    """Batch ``batch`` of an epoch, of ``size`` images, and those after it.

    Args:
        images: uint8 [n, 3, S, S].
        transfer: renders images in styles before anything else is done to them, unless their style is RAW.
        together: how many batches.

    Returns:
        What is seen, float [B, 3, S, S] in [0, 1], and which images, int64 [B]; of all batches, one after the other.
    """
    rows = slice(batch * size, (batch + together) * size)
    chosen = views.order[rows].long().to(images.device)
    seen = exchanged(images.index_select(0, chosen).float().div_(255), views.cells[rows])
    if transfer is not None:
        seen = rendered(transfer, seen, views.styles[rows].long(), views.style_shares[rows])
    seen = resized_crop(seen, views.crops[rows], views.flips[rows])
    places = torch.arange(len(chosen))
    partners = views.partners[rows].long() + places // size * size
    return _mixed(seen, partners, views.boxes[batch + places // size]), chosen


def _mixed(images: Tensor, partners: Tensor, boxes: Tensor) -> Tensor:
    """Images with their box [B, 4] taken from their partner [B] (CutMix)."""
    pixels = torch.arange(images.shape[-1])
    top, left, bottom, right = boxes.long()[:, :, None].unbind(1)
    rows, columns = (((pixels >= low) & (pixels < high)).float() for low, high in ((top, bottom), (left, right)))
    inside = (rows[:, :, None] * columns[:, None, :])[:, None].to(images.device)
    # With weights of 0 and 1 lerp chooses to the bit, and much faster than torch.where does with a mask that is broadcast.
    return images.lerp(images.index_select(0, partners.to(images.device)), inside)


@torch.no_grad()
def rendered(transfer: TransferNetwork, images: Tensor, styles: Tensor, shares: Tensor) -> Tensor:
    """Images in mixtures of two styles [B, 2]; those whose style is RAW as they are."""
    raw = styles[:, 0] == RAW
    known = styles.masked_fill(raw[:, None], 0).to(images.device)
    made = transfer(images, transfer.mixture(known[:, 0], known[:, 1], shares.to(images.device)))
    made = made[..., : images.shape[-2], : images.shape[-1]]
    return torch.where(raw.to(images.device)[:, None, None, None], images, made) if bool(raw.any()) else made


def exchanged(images: Tensor, cells: Tensor) -> Tensor:
    """Images whose halves are exchanged: left and right where bit 0 of ``cells`` [B] is set, top and bottom where bit 1 is."""
    if not bool(cells.any()):
        return images
    side, index = images.shape[-1], torch.arange(images.shape[-1])
    turned = (index + (side + 1) // 2) % side
    columns = torch.where((cells & 1).bool()[:, None], turned, index).to(images.device)
    rows = torch.where((cells & 2).bool()[:, None], turned, index).to(images.device)
    places: Any = torch.arange(len(images), device=images.device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[:, None, None]
    return images[places, channels, rows[:, None, :, None], columns[:, None, None, :]]
