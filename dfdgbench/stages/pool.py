"""Pools: sets of synthetic images with labels, kept as ordered shards.

A set is a list of shard stages, so that a larger set has a smaller one as its prefix, and the shards of several sets
can be made anywhere in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfdgbench.engine.stage import Stage
from dfdgbench.engine.work import Work
from dfdgbench.errors import ArtifactError


@dataclass(frozen=True, eq=False)
class Pool:
    """Attributes:
    images: uint8 [N, 3, H, W]; rounded, not cut, from [0, 1].
    labels: int64 [N].
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, device: torch.device) -> Iterator[Tensor]:
        """Images as float [B, 3, H, W] in [0, 1], in order."""
        for start in range(0, len(self), size):
            yield self.images[start : start + size].to(device).float() / 255


def quantise(images: Tensor) -> Tensor:
    """Images in [0, 1] as uint8, rounded to the nearest level: cutting would darken them by half a level."""
    return (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def join(pools: Sequence[Pool]) -> Pool:
    """The pools one after the other."""
    return Pool(torch.cat([pool.images for pool in pools]), torch.cat([pool.labels for pool in pools]))


def save_pool(folder: Path, pool: Pool) -> None:
    """Write images.npy (uint8) and labels.npy (int16)."""
    np.save(folder / "images.npy", pool.images.numpy(), allow_pickle=False)
    np.save(folder / "labels.npy", pool.labels.numpy().astype(np.int16), allow_pickle=False)


def load_pool(folder: Path) -> Pool:
    """What :func:`save_pool` wrote."""
    try:
        images = np.load(folder / "images.npy", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"The pool in {folder} cannot be read: {error}") from error
    return Pool(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


class Shard(Stage):
    """Base of the stages that leave a pool."""

    def load(self, folder: Path, work: Work) -> Pool:
        return load_pool(folder)


@dataclass(frozen=True)
class PoolSet:
    """One set of a method: its shards, and who teaches on its images.

    Attributes:
        shards: the stages that make it, in order.
        teachers: weight of each teacher in the distillation targets, by domain index.
    """

    shards: tuple[Shard, ...]
    teachers: Mapping[int, float]

    def pool(self, work: Work) -> Pool:
        """All its images."""
        return join([work.input(shard) for shard in self.shards])


def labels_of(start: int, count: int, classes: int) -> Tensor:
    """Labels [count], round-robin over the classes from ``start`` on: every group of images is balanced."""
    return (torch.arange(start, start + count) % classes).long()


def describe(pool: Pool) -> dict[str, Any]:
    """Facts for a manifest."""
    return {"images": len(pool), "size": int(pool.images.shape[-1])}
