"""Guided data homogenisation: how far the statistics of a batch's feature maps are from stored ones (Willis and Oala 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

Reduction = Literal["mean", "sum"]
Moments = tuple[Tensor, Tensor]


def class_moments(maps: Tensor, labels: Tensor | None = None, classes: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance per class and channel, over a class's images and all positions.

    A class of which the batch has nothing has mean 0 and variance 1, without gradient (fact H10).

    Args:
        maps: [B, C, ...].
        labels: int64 [B]; None: all images are of one class.

    Returns:
        Means [K, C], variances [K, C], and the number of images [K].
    """
    return _by_class(*_image_moments(maps), labels, classes)


def _by_class(means: Tensor, variances: Tensor, labels: Tensor | None, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`class_moments` of what :func:`_image_moments` gives."""
    if labels is None:
        labels = torch.zeros(len(means), dtype=torch.long, device=means.device)
    member = functional.one_hot(labels, classes).to(means.dtype)
    counts = member.sum(0)
    weights = (member / counts.clamp(min=1)).T
    mean = weights @ means
    # Around each class's own mean, since E[z^2] - E[z]^2 cancels where the mean is large.
    variance = weights @ (variances + (means - mean[labels]).square())
    absent = (counts == 0)[:, None]
    return mean, torch.where(absent, torch.ones_like(variance), variance), counts


def _image_moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance per image and channel over positions, [B, C]; of vectors, these themselves and 0."""
    if maps.ndim == 2:
        return maps, torch.zeros_like(maps)
    mean, variance = _ImageMoments.apply(maps)
    return mean, variance


class _ImageMoments(torch.autograd.Function):
    """Mean and variance over the positions of maps [B, C, ...] by products with ones, and an affine backward: a third of
    ``torch.var_mean``'s time. Maps with their channels last stay as they are."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> tuple[Tensor, Tensor]:
        positions = maps[0, 0].numel()
        weights = maps.new_full((positions,), 1 / positions)
        if maps.ndim == 4 and not maps.is_contiguous() and maps.is_contiguous(memory_format=torch.channels_last):
            rows = maps.permute(0, 2, 3, 1).flatten(1, 2)
            mean = weights @ rows
            variance = weights @ (rows - mean[:, None]).square_()
        else:
            rows = maps.flatten(2)
            mean = rows @ weights
            variance = (rows - mean[..., None]).square_() @ weights
        ctx.save_for_backward(maps, mean)
        return mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor) -> Tensor:
        maps, mean = ctx.saved_tensors
        positions = maps[0, 0].numel()
        slope = grad_variance * (2 / positions)
        offset = grad_mean / positions - slope * mean
        shape = (*mean.shape, *(1,) * (maps.ndim - 2))
        return torch.addcmul(offset.view(shape), maps, slope.view(shape))


def moment_distance(source: Moments, target: Moments) -> Tensor:
    """``||mu_A - mu_B||_2 + ||var_A - var_B||_2`` of each class, [K]; norms are not squared. Moments are [K, C]."""
    return sum(
        (torch.linalg.vector_norm(one - other, dim=1) for one, other in zip(source, target, strict=True)),
        start=torch.zeros((), device=target[0].device),
    )


def reduced(terms: Tensor, how: Reduction) -> Tensor:
    """Mean (the released code) or sum (the paper) of the finite ones of ``terms`` [..., N]; 0 where there are none."""
    finite = torch.isfinite(terms)
    total = torch.where(finite, terms, torch.zeros_like(terms)).sum(-1)
    return total / finite.sum(-1).clamp(min=1) if how == "mean" else total


def statistics_loss(
    sources: Sequence[Moments],
    maps: Sequence[Tensor],
    labels: Tensor | None = None,
    *,
    over_classes: Reduction = "mean",
    over_maps: Reduction = "mean",
) -> Tensor:
    """Distance of a batch's statistics from the stored ones (section 4; paper Eq. 3 to 5).

    Args:
        sources: mean and variance of each map, each [K, C]; K is 1 for statistics that are not class-conditional.
        maps: of the batch, each [B, C, ...].
        labels: int64 [B] where the statistics are class-conditional.
    """
    # All maps' channels side by side, so that what is small is done once, and not once a map.
    means, variances = (torch.cat(parts, dim=1) for parts in zip(*map(_image_moments, maps), strict=True))
    mean, variance, _ = _by_class(means, variances, labels, len(sources[0][0]))
    widths = [map_.shape[1] for map_ in maps]
    found = zip(sources, mean.split(widths, dim=1), variance.split(widths, dim=1), strict=True)
    terms = torch.stack([moment_distance(source, (one, other)) for source, one, other in found])
    return reduced(reduced(terms, over_classes), over_maps)


def neighbour_variation(images: Tensor) -> Tensor:
    """Mean over images [B, C, H, W] of the sum of the L2 norms of four neighbour differences: across, down, both diagonals."""
    pairs = (
        (images[..., :, 1:], images[..., :, :-1]),
        (images[..., 1:, :], images[..., :-1, :]),
        (images[..., 1:, 1:], images[..., :-1, :-1]),
        (images[..., 1:, :-1], images[..., :-1, 1:]),
    )
    norms = [torch.linalg.vector_norm((one - other).flatten(1), dim=1) for one, other in pairs]
    return torch.stack(norms).sum(0).mean()
