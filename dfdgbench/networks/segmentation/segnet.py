"""SegNet: an encoder-decoder whose unpooling puts each maximum back where it was (Badrinarayanan et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Widths of VGG-16's convolutions, a tuple for each block before a pooling."""
SMALL = ((16,), (24, 24), (32, 32))

Widths = Sequence[Sequence[int]]
Pooled = tuple[Tensor, list[tuple[Tensor, torch.Size]]]
"""What the encoder leaves, and of every pooling the places of its maxima with the size before it."""


def unpool(values: Tensor, indices: Tensor, size: Sequence[int]) -> Tensor:
    """``values`` [B, C, h, w] at the places ``indices`` of a map of zeros [B, C, *size]; each place is named once, so that the
    result is the same on every device."""
    flat = values.new_zeros(*values.shape[:2], size[0] * size[1])
    placed: Tensor = flat.scatter(2, indices.flatten(2), values.flatten(2)).unflatten(2, tuple(size))
    return placed


class Encoder(nn.Module):
    """Normalised images [B, 3, H, W] to maps [B, C, h, w] and the places of the maxima.

    Args:
        widths: of the convolutions, a tuple for each block.
    """

    def __init__(self, widths: Widths = VGG16, channels: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for block in widths:
            self.blocks.append(_block(channels, block))
            channels = block[-1]

    def forward(self, images: Tensor) -> Pooled:
        """Maps and places."""
        maps, places = images, []
        for block in self.blocks:
            maps = block(maps)
            size = maps.shape[2:]
            maps, indices = functional.max_pool2d(maps, 2, return_indices=True)
            places.append((indices, size))
        return maps, places


class Decoder(nn.Module):
    """The mirror of an :class:`Encoder` of the same widths, to logits [B, K, H, W].

    Every convolution is followed by batch normalisation and ReLU, but for the last one, whose logits may be negative.
    """

    def __init__(self, num_classes: int, widths: Widths = VGG16) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        channels = widths[-1][-1]
        for position in reversed(range(len(widths))):
            below = widths[position - 1][-1] if position else num_classes
            mirrored = (*reversed(widths[position][1:]), below)
            self.blocks.append(_block(channels, mirrored, plain_end=position == 0))
            channels = below

    def forward(self, encoded: Pooled) -> Tensor:
        """Logits."""
        maps, places = encoded
        for block, (indices, size) in zip(self.blocks, reversed(places), strict=True):
            maps = block(unpool(maps, indices, size))
        return maps


def _block(channels: int, widths: Sequence[int], plain_end: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number, width in enumerate(widths):
        layers.append(nn.Conv2d(channels, width, 3, padding=1))
        if not (plain_end and number == len(widths) - 1):
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers)
