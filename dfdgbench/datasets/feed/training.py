"""Training batches and evaluation batches of a split.

Images reach a network as float tensors in [0, 1]; normalisation is the network's own. Training batch ``k`` is
a pure function of a seed and ``k``: a run resumed at step k, and any number of workers, see the same bits. Global
generators are left as they were.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from dfdgbench.datasets.base import Keys, Labels
from dfdgbench.datasets.feed.augment import BatchAugment
from dfdgbench.datasets.feed.readers import Reader
from dfdgbench.datasets.feed.split import Split
from dfdgbench.errors import ConfigError, DataError
from dfdgbench.seeds import generator

Batch = tuple[Tensor, Tensor]
T = TypeVar("T")


def domainbed_augmentation(hflip: bool) -> BatchAugment:
    """DomainBed's: crops of 70 to 100 % of the area, colours jittered by 0.3, grey with probability 0.1."""
    return BatchAugment(hflip=hflip, hue=0.3, shuffled=True)


def dmg_pacs_augmentation(hflip: bool) -> BatchAugment:
    """DMG's on PACS: crops of 80 to 100 % of the area, colours and hue jittered by 0.4 always."""
    return BatchAugment(crop_scale=(0.8, 1.0), hflip=hflip, jitter=0.4, hue=0.4, grayscale=0.0, shuffled=True)


def dmg_domainnet_augmentation(hflip: bool) -> BatchAugment:
    """DMG's on DomainNet: images squashed to a square, then crops of 224 out of 256 pixels."""
    area = (224 / 256) ** 2
    return BatchAugment(
        crop_scale=(area, area), ratio=(1.0, 1.0), squashed=True, hflip=hflip, jitter=0.0, grayscale=0.0
    )


def crop_flip_augmentation(hflip: bool) -> BatchAugment:
    """Crops of 77 to 100 % of the area and mirror images; colours stay."""
    return BatchAugment(crop_scale=(0.77, 1.0), ratio=(1.0, 1.0), hflip=hflip, jitter=0.0, grayscale=0.0)


AUGMENTATIONS = {
    "crop-flip": crop_flip_augmentation,
    "domainbed": domainbed_augmentation,
    "dmg-pacs": dmg_pacs_augmentation,
    "dmg-domainnet": dmg_domainnet_augmentation,
}


def balanced_weights(labels: Labels) -> Tensor:
    """DomainBed's class-balanced weights, float32 [N] of sum 1: ``1 / (images of the class * classes present)``."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return torch.from_numpy(1.0 / (counts[inverse] * len(counts))).to(torch.float32)


class TrainingFeed:
    """Endless training batches of one split.

    With replacement, as DomainBed draws: without it, the images of a batch are correlated. Without replacement,
    batches are cut from an endless row of whole passes, each in an order of its own; a batch may span two passes.

    Args:
        batch_size: images a batch; a split that is smaller trains too, with images repeated (see :attr:`notice`).
        seed: of this feed alone; feeds of several domains need different ones.
        reader: of the split's domain.
        augment: what is done to every image, None for nothing.
        class_balanced: draw every class as often as every other.

    Raises:
        DataError: the split is empty.
        ConfigError: options that do not go together.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        reader: Reader,
        augment: BatchAugment | None = None,
        *,
        class_balanced: bool = False,
        replacement: bool = True,
    ) -> None:
        if len(split) == 0:
            raise DataError(f"The training split of domain '{split.domain.name}' is empty. Lower --holdout-fraction.")
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; a batch needs at least 1 image.")
        if class_balanced and not replacement:
            raise ConfigError("class_balanced needs drawing with replacement. Leave one of the two options out.")
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.reader, self.augment, self.replacement = reader, augment, replacement
        self.weights = balanced_weights(split.labels) if class_balanced else None
        self._pass = lru_cache(maxsize=2)(self._shuffled)

    @property
    def notice(self) -> str:
        """What a person should know before training on this split, or nothing."""
        if len(self.split) >= self.batch_size:
            return ""
        return (
            f"Domain '{self.split.domain.name}' has {len(self.split)} training images, fewer than the batch size "
            f"{self.batch_size}: images repeat within every batch."
        )

    def batch(self, k: int) -> Batch:
        """Batch ``k``: images float32 [B, C, S, S] in [0, 1] and labels int64 [B]; the same whenever asked for."""
        return self._started(k)()

    def prefetch(self, start: int = 0) -> Iterator[Batch]:
        """Batches ``start``, ``start + 1``, ... without end, made ahead where that helps."""
        return ahead((self._started(k) for k in itertools.count(start)), self.reader.ahead)

    def _started(self, k: int) -> Callable[[], Batch]:
        if k < 0:
            raise ValueError(f"there is no batch {k}; batches count from 0")
        random = generator("batch", self.seed, k)
        keys = self.split.keys[self._positions(k, random).numpy()]
        drawn = self.augment.draw(self.batch_size, random) if self.augment is not None else None
        images = self.reader.start(keys, drawn)
        return lambda: (images(), torch.from_numpy(self.split.domain.labels[keys]))

    def _positions(self, k: int, random: torch.Generator) -> Tensor:
        if self.weights is not None:
            return torch.multinomial(self.weights, self.batch_size, replacement=True, generator=random)
        if self.replacement:
            return torch.randint(len(self.split), (self.batch_size,), generator=random)
        row = torch.arange(k * self.batch_size, (k + 1) * self.batch_size)
        passes, places = row // len(self.split), row % len(self.split)
        numbers = range(int(passes[0]), int(passes[-1]) + 1)
        return torch.cat([self._pass(number)[places[passes == number]] for number in numbers])

    def _shuffled(self, number: int) -> Tensor:
        return torch.randperm(len(self.split), generator=generator("pass", self.seed, number))


class EachDomain:
    """One minibatch of every domain, from feeds of their own: DomainBed's way."""

    def __init__(self, feeds: Sequence[TrainingFeed]) -> None:
        self.feeds = list(feeds)

    def prefetch(self, start: int = 0) -> Iterator[list[Batch]]:
        """The minibatches of steps ``start``, ``start + 1``, ... without end."""
        return map(list, zip(*(feed.prefetch(start) for feed in self.feeds), strict=True))


def pooled_batches(images: int, batch_size: int) -> int:
    """The batches of one pass over ``images`` images; the last may be smaller."""
    return -(-images // batch_size)


class PooledFeed:
    """Batches from the concatenation of several splits, so that domains appear in proportion to their sizes.

    A shuffled loader: passes over all images, each in an order of its own, whose last batch is smaller and kept. A batch is
    handed over as one minibatch a split, in their order; a split of which the batch holds nothing has an empty one.

    Args:
        batch_size: images a step, of all splits together.
        readers: of the splits' domains.
        augment: what is done to every image, None for nothing.

    Raises:
        DataError: a split is empty.
        ConfigError: a batch size below 1.
    """

    def __init__(
        self,
        splits: Sequence[Split],
        batch_size: int,
        seed: int,
        readers: Sequence[Reader],
        augment: BatchAugment | None = None,
    ) -> None:
        empty = [split.domain.name for split in splits if not len(split)]
        if empty:
            raise DataError(f"The training split of domain '{empty[0]}' is empty. Lower --holdout-fraction.")
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; a batch needs at least 1 image.")
        self.splits, self.readers, self.batch_size = list(splits), list(readers), batch_size
        self.seed, self.augment = seed, augment
        self.ends = np.cumsum([len(split) for split in splits])
        self._pass = lru_cache(maxsize=2)(self._shuffled)

    @property
    def batches_per_pass(self) -> int:
        """Steps an epoch."""
        return pooled_batches(int(self.ends[-1]), self.batch_size)

    @property
    def notice(self) -> str:
        """What a person should know before training on these splits, or nothing."""
        if self.ends[-1] >= self.batch_size:
            return ""
        return (
            f"The source domains have {self.ends[-1]} training images together, fewer than the batch size "
            f"{self.batch_size}: every step sees all of them."
        )

    def batch(self, k: int) -> list[Batch]:
        """Batch ``k`` as one minibatch a split: images float32 [b, C, S, S] and labels int64 [b]; the same whenever asked for."""
        return self._started(k)()

    def prefetch(self, start: int = 0) -> Iterator[list[Batch]]:
        """Batches ``start``, ``start + 1``, ... without end, made ahead where that helps."""
        return ahead((self._started(k) for k in itertools.count(start)), max(reader.ahead for reader in self.readers))

    def _started(self, k: int) -> Callable[[], list[Batch]]:
        if k < 0:
            raise ValueError(f"there is no batch {k}; batches count from 0")
        number, place = divmod(k, self.batches_per_pass)
        rows = self._pass(number)[place * self.batch_size : (place + 1) * self.batch_size]
        random = generator("batch", self.seed, k)
        owners = np.searchsorted(self.ends, rows, side="right")
        waiting = [self._part(index, rows[owners == index], random) for index in range(len(self.splits))]
        return lambda: _filled([None if part is None else part() for part in waiting])

    def _part(self, index: int, rows: Keys, random: torch.Generator) -> Callable[[], Batch] | None:
        """The images of one split in a batch; None for none."""
        if not len(rows):
            return None
        split = self.splits[index]
        keys = split.keys[rows - (self.ends[index] - len(split))]
        drawn = self.augment.draw(len(keys), random) if self.augment is not None else None
        images = self.readers[index].start(keys, drawn)
        return lambda: (images(), torch.from_numpy(split.domain.labels[keys]))

    def _shuffled(self, number: int) -> Keys:
        order: Keys = torch.randperm(int(self.ends[-1]), generator=generator("pass", self.seed, number)).numpy()
        return order


def _filled(parts: Sequence[Batch | None]) -> list[Batch]:
    """Empty minibatches of the right shape for what is None."""
    images, labels = next(part for part in parts if part is not None)
    nothing = images.new_empty((0, *images.shape[1:])), labels.new_empty(0)
    return [nothing if part is None else part for part in parts]


def evaluation_batches(
    split: Split,
    reader: Reader,
    batch_size: int,
    augment: BatchAugment | None = None,
    random: torch.Generator | None = None,
) -> Iterator[Batch]:
    """Images float32 [B, C, S, S] in [0, 1] and labels int64 [B]: every image once, in the split's order.

    The last batch may be smaller. No global generator is touched.

    Args:
        augment, random: DomainBed augments the validation images of source domains too; drawn from ``random``.
    """

    def started(begin: int) -> Callable[[], Batch]:
        keys = split.keys[begin : begin + batch_size]
        drawn = augment.draw(len(keys), random) if augment is not None and random is not None else None
        images = reader.start(keys, drawn)
        return lambda: (images(), torch.from_numpy(split.domain.labels[keys]))

    return ahead((started(begin) for begin in range(0, len(split), batch_size)), reader.ahead)


def ahead(started: Iterable[Callable[[], T]], count: int) -> Iterator[T]:
    """What was started, in order, with ``count`` batches under way while one is used."""
    waiting: deque[Callable[[], T]] = deque()
    for batch in started:
        waiting.append(batch)
        if len(waiting) > count:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()
