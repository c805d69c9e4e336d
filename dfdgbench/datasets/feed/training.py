"""How training and evaluation read a split.

Images reach a network as float tensors in [0, 1]; normalisation is the network's own. Training batch ``k`` is
a pure function of a seed and ``k``: a run resumed at step k, and any number of worker processes, see the same bits.
Global generators are left as they were.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from dfdgbench.datasets.base import Domain, Keys, Labels
from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.datasets.feed.images import (
    SHARED_CACHE,
    ImageCache,
    ImageTransform,
    eval_transform,
    to_float,
    train_transform,
)
from dfdgbench.errors import ConfigError, DataError, DfdgbenchError
from dfdgbench.seeds import generator

__all__ = [
    "Batch",
    "ImageCache",
    "ImageTransform",
    "Split",
    "TrainingFeed",
    "balanced_weights",
    "eval_transform",
    "evaluation_batches",
    "to_float",
    "train_transform",
]

Batch = tuple[Tensor, Tensor]
_FINGERPRINTS: WeakKeyDictionary[Domain, str] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Split:
    """Some images of a domain, in an order.

    Attributes:
        keys: int64 [N], indices into ``domain``.
    """

    domain: Domain
    keys: Keys

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def labels(self) -> Labels:
        """int64 [N], the class of each image."""
        return self.domain.labels[self.keys]

    def fingerprint(self) -> str:
        """SHA-256 of the domain's content, hashed once while it is open, and of the keys in their order."""
        if self.domain not in _FINGERPRINTS:
            _FINGERPRINTS[self.domain] = self.domain.fingerprint()
        digest = hashlib.sha256(_FINGERPRINTS[self.domain].encode())
        digest.update(np.ascontiguousarray(self.keys, dtype="<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class _Draw:
    """What one batch is made of: indices into the domain, and a seed for each image's augmentation."""

    keys: Keys
    seeds: tuple[int, ...] = ()


class _Reader(TorchDataset[tuple[Keys, Tensor] | DfdgbenchError]):
    """Makes the uint8 pixels of one draw, in this process or a worker."""

    def __init__(self, domain: Domain, transform: ImageTransform, cache: ImageCache) -> None:
        self.domain, self.transform, self.cache = domain, transform, cache

    @property
    def whole(self) -> NDArray[np.uint8] | None:
        """The domain's images as one array that needs no work on single images, or None."""
        if self.transform.augment or not isinstance(self.domain, ArrayDomain):
            return None
        images = self.domain.images
        return images if images.shape[1:3] == (self.transform.size, self.transform.size) else None

    def __getitem__(self, draw: _Draw) -> tuple[Keys, Tensor] | DfdgbenchError:
        """Keys and pixels; an error that is the user's to mend travels as a value, so that its text stays the same."""
        try:
            return draw.keys, self.read(draw)
        except DfdgbenchError as error:
            return error

    def read(self, draw: _Draw) -> Tensor:
        """uint8 [B, 3, S, S]."""
        whole = self.whole
        if whole is not None:
            return torch.from_numpy(whole[draw.keys]).permute(0, 3, 1, 2)
        keys = draw.keys.tolist()
        if not self.transform.augment:
            return torch.stack([self._plain(key) for key in keys])
        with torch.random.fork_rng(devices=[]):
            return torch.stack([self._augmented(key, seed) for key, seed in zip(keys, draw.seeds, strict=True)])

    def remember(self, keys: Keys, pixels: Tensor) -> None:
        """Keep what a worker made of plain images."""
        if self.whole is None and not self.transform.augment:
            for key, made in zip(keys.tolist(), pixels, strict=True):
                self.cache.put(self.domain, self.transform.size, key, made.numpy().copy())

    def holds(self, keys: Keys) -> bool:
        """Whether plain images can be had without decoding any."""
        if self.whole is not None:
            return True
        size = self.transform.size
        return all(self.cache.get(self.domain, size, key) is not None for key in keys.tolist())

    def _plain(self, key: int) -> Tensor:
        size = self.transform.size
        made = self.cache.get(self.domain, size, key)
        if made is None:
            made = self.transform.pixels(self.domain.image(key)).contiguous().numpy()
            self.cache.put(self.domain, size, key, made)
        return torch.from_numpy(made)

    def _augmented(self, key: int, seed: int) -> Tensor:
        image = self._decoded(key)
        # torch.manual_seed would seed the accelerators too, which fork_rng(devices=[]) does not restore.
        torch.default_generator.manual_seed(seed)
        return self.transform.pixels(image)

    def _decoded(self, key: int) -> Image.Image:
        if isinstance(self.domain, ArrayDomain):
            return self.domain.image(key)
        kept = self.cache.get(self.domain, 0, key)
        if kept is not None:
            return Image.fromarray(kept)
        image = self.domain.image(key)
        self.cache.put(self.domain, 0, key, np.array(image))
        return image


def _same(item: Any) -> Any:
    return item


def _stream(reader: _Reader, draws: Iterable[_Draw], workers: int) -> Iterator[tuple[Keys, Tensor]]:
    """Keys and uint8 pixels of each draw, in order, made here (``workers`` 0) or ahead of time by worker processes."""
    if workers == 0:
        for draw in draws:
            yield draw.keys, reader.read(draw)
        return
    # A generator of its own: the loader would otherwise draw a seed from the global one.
    loader: DataLoader[tuple[Keys, Tensor] | DfdgbenchError] = DataLoader(
        reader, batch_size=None, sampler=draws, num_workers=workers, collate_fn=_same, generator=torch.Generator()
    )
    for made in loader:
        if isinstance(made, DfdgbenchError):
            raise made
        yield made


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
        class_balanced: draw every class as often as every other.
        workers: processes that make batches ahead; they change no bit.
        cache: where decoded images are kept; by default one for the whole process.

    Raises:
        DataError: the split is empty.
        ConfigError: options that do not go together.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        transform: ImageTransform,
        *,
        class_balanced: bool = False,
        replacement: bool = True,
        workers: int = 0,
        cache: ImageCache | None = None,
    ) -> None:
        if len(split) == 0:
            raise DataError(f"The training split of domain '{split.domain.name}' is empty. Lower --holdout-fraction.")
        if batch_size < 1 or workers < 0:
            given = f"batch size {batch_size}, workers {workers}"
            raise ConfigError(f"{given}: a batch needs at least 1 image, and workers are 0 (none) or more.")
        if class_balanced and not replacement:
            raise ConfigError("class_balanced needs drawing with replacement. Leave one of the two options out.")
        self.split, self.batch_size, self.seed, self.workers = split, batch_size, seed, workers
        self.replacement = replacement
        self.weights = balanced_weights(split.labels) if class_balanced else None
        self._reader = _Reader(split.domain, transform, SHARED_CACHE if cache is None else cache)
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
        """Batch ``k``: images float32 [B, 3, S, S] in [0, 1] and labels int64 [B]; the same whenever asked for."""
        draw = self._draw(k)
        return self._finish(draw.keys, self._reader.read(draw))

    def prefetch(self, start: int = 0) -> Iterator[Batch]:
        """Batches ``start``, ``start + 1``, ... without end; close it (or drop it) to stop its workers."""
        draws = (self._draw(k) for k in itertools.count(start))
        workers = 0 if self._reader.whole is not None else self.workers
        for keys, pixels in _stream(self._reader, draws, workers):
            yield self._finish(keys, pixels)

    def _finish(self, keys: Keys, pixels: Tensor) -> Batch:
        return to_float(pixels), torch.from_numpy(self.split.domain.labels[keys])

    def _draw(self, k: int) -> _Draw:
        if k < 0:
            raise ValueError(f"there is no batch {k}; batches count from 0")
        random = generator("batch", self.seed, k)
        positions = self._positions(k, random)
        seeds = torch.randint(2**62, (self.batch_size,), generator=random).tolist()
        return _Draw(self.split.keys[positions.numpy()], tuple(seeds))

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


def evaluation_batches(
    split: Split, size: int, batch_size: int, workers: int = 0, cache: ImageCache | None = None
) -> Iterator[Batch]:
    """Images float32 [B, 3, size, size] in [0, 1] and labels int64 [B]: every image once, in the split's order.

    The last batch may be smaller. Resized images are kept in ``cache`` (by default one of 1 GiB for the whole process),
    so that the next evaluation decodes only what did not fit. No global generator is touched.
    """
    reader = _Reader(split.domain, eval_transform(size), SHARED_CACHE if cache is None else cache)
    draws = (_Draw(split.keys[start : start + batch_size]) for start in range(0, len(split), batch_size))
    if workers and reader.holds(split.keys):
        workers = 0
    for keys, pixels in _stream(reader, draws, workers):
        if workers:
            reader.remember(keys, pixels)
        yield to_float(pixels), torch.from_numpy(split.domain.labels[keys])
