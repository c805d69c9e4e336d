"""3x3 convolutions with reflected borders between few channels, quick on a CPU.

A library's convolution works on 16 channels at a time; with one channel on one side nearly all of that is padding, most of all in
its gradients. Here they are products of the weights with the nine shifted copies of the maps, [9 C, B H W], and back. Images are
kept as [C, B, H, W], so that each of these is one matrix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_SHIFTS = [divmod(number, 3) for number in range(9)]
_BESIDE = ((-1, -2), (0, -1), (0, 1))
"""Lines of a padded map that a copy does not reach, which is shifted by 0, 1 or 2 lines."""


class ReflectedConv(nn.Conv2d):
    """A 3x3 convolution of stride 1, with bias and reflected borders; in a state dict it is an ``nn.Conv2d``."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 3, padding=1, padding_mode="reflect")

    def channels_first(self, maps: Tensor) -> Tensor:
        """[C, B, H, W] -> [width, B, H, W], the same numbers to rounding as ``forward`` on [B, C, H, W]."""
        way = _Gather if self.in_channels <= self.out_channels else _Scatter
        made: Tensor = way.apply(maps, self.weight, self.bias)
        return made


class _Gather(torch.autograd.Function):
    """Few channels to many: shift, then multiply. A row of ones below the shifted copies carries the bias."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        channels = len(maps)
        rows = maps.new_empty(9 * channels + 1, maps[0].numel())
        _shifted(_reflected(maps), rows[:-1].view(9, *maps.shape))
        rows[-1] = 1
        matrix = torch.cat([weight.permute(0, 2, 3, 1).flatten(1), bias[:, None]], dim=1)
        ctx.save_for_backward(rows, matrix)
        ctx.shape = maps.shape
        return (matrix @ rows).view(-1, *maps.shape[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, matrix = ctx.saved_tensors
        grad = grad.reshape(len(matrix), -1)
        by_weight = _products(grad, rows, ctx.shape[1])
        entered = _unshifted((matrix[:, :-1].T @ grad).view(9, *ctx.shape))
        kernel = by_weight[:, :-1].view(len(matrix), 3, 3, -1).permute(0, 3, 1, 2)
        return _unreflected(entered), kernel, by_weight[:, -1]


class _Scatter(torch.autograd.Function):
    """Many channels to few: multiply, then shift and add."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out, channels = weight.shape[:2]
        matrix = weight.permute(2, 3, 0, 1).reshape(9 * out, channels)
        rows = _reflected((matrix @ maps.reshape(channels, -1)).view(9 * out, *maps.shape[1:]))
        rows = rows.view(9, out, *rows.shape[1:])
        height, width = maps.shape[-2:]
        total = bias[:, None, None, None].expand(out, *maps.shape[1:]).clone()
        for row, (down, across) in zip(rows, _SHIFTS, strict=True):
            total += row[..., down : down + height, across : across + width]
        ctx.save_for_backward(maps, matrix)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps, matrix = ctx.saved_tensors
        height, width = grad.shape[-2:]
        rows = grad.new_empty(9, *grad.shape[:2], height + 2, width + 2)
        for row, (down, across) in zip(rows, _SHIFTS, strict=True):
            row[..., down : down + height, across : across + width] = grad
            for outside in _BESIDE[down]:
                row[..., outside, :] = 0
            for outside in _BESIDE[across]:
                row[..., outside] = 0
        flat = _unreflected(rows).reshape(len(matrix), -1)
        kernel = (
            _products(flat, maps.reshape(len(maps), -1), grad.shape[1]).view(3, 3, len(grad), -1).permute(2, 3, 0, 1)
        )
        return (matrix.T @ flat).view(maps.shape), kernel, grad.sum((1, 2, 3))


def _products(one: Tensor, other: Tensor, parts: int) -> Tensor:
    """``one @ other.T`` of [M, L] and [N, L] in parts of L: as one product of so long and thin matrices it takes twice the time."""
    left, right = (rows.view(len(rows), parts, -1).transpose(0, 1) for rows in (one, other))
    return torch.bmm(left, right.transpose(1, 2)).sum(0)


def _reflected(maps: Tensor) -> Tensor:
    return functional.pad(maps, (1, 1, 1, 1), mode="reflect")


def _unreflected(padded: Tensor) -> Tensor:
    """The gradient of :func:`_reflected`: what was mirrored is added to where it is from. Changes ``padded``."""
    padded[..., 2] += padded[..., 0]
    padded[..., -3] += padded[..., -1]
    padded[..., 2, :] += padded[..., 0, :]
    padded[..., -3, :] += padded[..., -1, :]
    return padded[..., 1:-1, 1:-1]


def _shifted(padded: Tensor, rows: Tensor) -> None:
    """Write into ``rows`` [9, C, B, H, W] the nine shifted copies of ``padded`` [C, B, H + 2, W + 2]."""
    height, width = rows.shape[-2:]
    for row, (down, across) in zip(rows, _SHIFTS, strict=True):
        row.copy_(padded[..., down : down + height, across : across + width])


def _unshifted(rows: Tensor) -> Tensor:
    """The gradient of :func:`_shifted`."""
    *lead, height, width = rows.shape[1:]
    padded = rows.new_zeros(*lead, height + 2, width + 2)
    for row, (down, across) in zip(rows, _SHIFTS, strict=True):
        padded[..., down : down + height, across : across + width] += row
    return padded
