"""Distilled sets: images that stand for labelled source domains, as the user gets them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import Stage
from dfdgbench.engine.work import Work
from dfdgbench.errors import DataError, listing
from dfdgbench.hparams import Hparams
from dfdgbench.settings import Read, Released, Side
from dfdgbench.stages.pool import Pool, Shard, join, load_pool


@dataclass(frozen=True, eq=False)
class SizedPool(Pool):
    """A pool and the bytes of its arrays on disk."""

    bytes: int = 0


class DistilledShard(Shard):
    """Base of the owner's stages that leave distilled images of some source domains, whose train splits they read."""

    def __init__(
        self, problem: Problem, hparams: Hparams, domains: Sequence[int], inputs: Sequence[Stage], index: int = 0
    ) -> None:
        super().__init__(
            problem,
            hparams,
            domains=domains,
            inputs=inputs,
            reads=tuple(Read(domain, problem.protocol.train) for domain in domains),
            side=Side.OWNER,
            releases=Released.SYNTHETIC,
            index=index,
        )

    @property
    def classes(self) -> int:
        return self.problem.network.num_classes

    def require_classes(self, work: Work) -> None:
        """``DataError`` where no image of a class is in the domains of the set."""
        labels = np.concatenate([work.split(read).labels for read in self.reads])
        names = self.problem.metadata.classes
        absent = [names[k] for k in np.flatnonzero(np.bincount(labels, minlength=self.classes) == 0)]
        if absent:
            raise DataError(
                f"'{self.title}': the training split of {' and '.join(self.domains)} has no image of {listing(absent, 5)}, and a "
                f"set needs all {self.classes} classes. Type --hparam approach=across, lower --holdout-fraction, or leave the "
                "domain out of --train-envs."
            )

    def load(self, folder: Path, work: Work) -> SizedPool:
        pool = load_pool(folder)
        # The manifest is not counted: its length varies with the time that it tells.
        return SizedPool(pool.images, pool.labels, sum(path.stat().st_size for path in folder.glob("*.npy")))


@dataclass(frozen=True)
class Part:
    """Images that the same models label.

    Attributes:
        shards: the stages that make them, in order; what they have beyond ``images`` is left out.
        models: the stages whose models label them.
        images: how many.
    """

    shards: tuple[Shard, ...]
    models: tuple[Stage, ...]
    images: int


@dataclass(frozen=True)
class DistilledSet:
    """All images of a method: one part across domains, or one a domain."""

    parts: tuple[Part, ...]

    @property
    def images(self) -> int:
        return sum(part.images for part in self.parts)

    @property
    def shards(self) -> tuple[Shard, ...]:
        return tuple(shard for part in self.parts for shard in part.shards)

    @property
    def models(self) -> tuple[Stage, ...]:
        """Every part's models, each part as many."""
        return tuple(model for part in self.parts for model in part.models)

    @property
    def identity(self) -> list[str]:
        """What tells this set from others: the keys of its shards, and how many images are taken."""
        return [f"{shard.key}:{part.images}" for part in self.parts for shard in part.shards]

    def load(self, work: Work) -> LoadedSet:
        pools = []
        for part in self.parts:
            whole = join([work.input(shard) for shard in part.shards])
            pools.append(Pool(whole.images[: part.images], whole.labels[: part.images]))
        joined = join(pools)
        owners = torch.cat([torch.full((len(pool),), index) for index, pool in enumerate(pools)])
        stored = sum(getattr(work.input(shard), "bytes", 0) for shard in self.shards)
        return LoadedSet(joined.images.to(work.device), joined.labels.to(work.device), owners, stored)


@dataclass(frozen=True, eq=False)
class LoadedSet:
    """Attributes:
    images: uint8 [n, 3, H, W], on the device.
    labels: int64 [n], on the device.
    owners: int64 [n], the part that each image is of.
    bytes: of its artifacts on disk.
    """

    images: Tensor
    labels: Tensor
    owners: Tensor
    bytes: int

    def __len__(self) -> int:
        return len(self.owners)

    def facts(self) -> dict[str, Any]:
        """For a manifest."""
        return {"images": len(self), "bytes": self.bytes}
