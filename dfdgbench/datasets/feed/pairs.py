"""Images with masks, moved together: batches for segmentation.

Every image is brought to one height and width bicubically, its mask to the nearest pixel, each from its own native size (a few
of GTA5's differ). Training mirrors both or neither. As in classification, training batch ``k`` is a pure function of a seed
and ``k``.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfdgbench.datasets.domains import Keys, MaskedDomain
from dfdgbench.datasets.feed import pool
from dfdgbench.datasets.feed.images import to_float
from dfdgbench.datasets.feed.pixels import Pixels
from dfdgbench.datasets.feed.readers import DataPath
from dfdgbench.datasets.feed.split import Split
from dfdgbench.datasets.feed.store import Shape, Store, items
from dfdgbench.datasets.feed.training import Batch, ahead
from dfdgbench.datasets.metadata import IGNORED
from dfdgbench.errors import ConfigError, DataError
from dfdgbench.seeds import generator


class PairReader:
    """Images and masks of a domain at one size, from stores (fast) or from their files (exact); the same bits from both.

    Args:
        domain: with labelled masks, or (``unlabelled``) without: then every pixel is 255.
        shape: height and width.
    """

    ahead = 2

    def __init__(self, domain: MaskedDomain, shape: tuple[int, int], path: DataPath) -> None:
        self.domain, self.path = domain, path
        self.photo, self.mask = Shape(*shape, "photo"), Shape(*shape, "mask")

    def start(self, keys: Keys, mirrored: NDArray[np.bool_] | None = None) -> Callable[[], Batch]:
        """Start a batch; what is returned waits for images float32 [B, 3, H, W] in [0, 1] and masks int64 [B, H, W]."""
        photos, masks = self._pixels(keys, self.photo), self._pixels(keys, self.mask)

        def wait() -> Batch:
            images, targets = photos().copy(), masks().copy()
            if mirrored is not None:
                images[mirrored], targets[mirrored] = images[mirrored, :, ::-1], targets[mirrored, :, ::-1]
            return to_float(torch.from_numpy(images).permute(0, 3, 1, 2)), torch.from_numpy(targets[..., 0]).long()

        return wait

    def _pixels(self, keys: Keys, shape: Shape) -> Callable[[], Pixels]:
        if shape is self.mask and not any(self.domain.masks[key] for key in keys.tolist()):
            return lambda: np.full((len(keys), *shape.item), 255, np.uint8)
        if self.domain.in_memory:
            return lambda: items(self.domain.part(keys), shape)[0]
        if self.path.kind == "fast":
            store = self._photos if shape is self.photo else self._masks
            return lambda: store.pixels[keys]
        with pool.told():
            made = pool.shared(self.path.workers).submit(items, self.domain.part(keys), shape)

        def wait() -> Pixels:
            with pool.told():
                return made.result()[0]

        return wait

    @cached_property
    def _photos(self) -> Store:
        return self._open(self.photo)

    @cached_property
    def _masks(self) -> Store:
        return self._open(self.mask)

    def _open(self, shape: Shape) -> Store:
        return self.path.open(self.domain, shape)

    def seeing(self, split: Split) -> PairReader:
        """This reader for the images of ``split``: whoever was handed them without masks is shown none."""
        domain = split.domain
        assert isinstance(domain, MaskedDomain), type(domain)
        blind = any(self.domain.masks) and not any(domain.masks)
        return PairReader(domain, (self.photo.height, self.photo.width), self.path) if blind else self


class PairFeed:
    """Endless training batches of images with masks, drawn with replacement from one split or from several together.

    Args:
        splits: of several, a batch holds the first one's images first.
        seed: of this feed alone.
        readers: one for each of the splits.
        hflip: whether images are mirrored, with probability 1/2, and their masks with them.

    Raises:
        DataError: a split is empty.
    """

    def __init__(
        self, splits: Sequence[Split], batch_size: int, seed: int, readers: Sequence[PairReader], hflip: bool = True
    ) -> None:
        for split in splits:
            if len(split) == 0:
                raise DataError(f"The training split of domain '{split.domain.name}' is empty.")
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; a batch needs at least 1 image.")
        self.splits, self.batch_size, self.seed, self.hflip = list(splits), batch_size, seed, hflip
        self.readers = [reader.seeing(split) for split, reader in zip(splits, readers, strict=True)]
        self.ends = np.cumsum([len(split) for split in splits])
        self._among: Callable[[int], Tensor | None] = lambda k: None

    def narrowed(self, among: Callable[[int], Tensor | None]) -> PairFeed:
        """This feed, whose batch ``k`` is drawn from the images ``among(k)`` alone.

        Args:
            among: from a batch's number to positions int64 [N] in the row of all splits' images, N > 0; None: all images. A
                pure function, as batches are.
        """
        made = copy.copy(self)
        made._among = among
        return made

    def batch(self, k: int) -> Batch:
        """Batch ``k``: images float32 [B, 3, H, W] in [0, 1] and masks int64 [B, H, W]."""
        return self._started(k)()

    def prefetch(self, start: int = 0) -> Iterator[Batch]:
        """Batches ``start``, ``start + 1``, ... without end."""
        return ahead((self._started(k) for k in itertools.count(start)), PairReader.ahead)

    def _started(self, k: int) -> Callable[[], Batch]:
        random = generator("batch", self.seed, k)
        among = self._among(k)
        count = int(self.ends[-1]) if among is None else len(among)
        drawn = torch.randint(count, (self.batch_size,), generator=random)
        positions = (drawn if among is None else among[drawn]).numpy()
        mirrored = (torch.rand((self.batch_size,), generator=random) < 0.5).numpy() if self.hflip else None
        owners = np.searchsorted(self.ends, positions, side="right")
        waiting = []
        for owner in np.unique(owners).tolist():
            own = owners == owner
            split, first = self.splits[owner], self.ends[owner] - len(self.splits[owner])
            waiting.append(
                self.readers[owner].start(
                    split.keys[positions[own] - first], None if mirrored is None else mirrored[own]
                )
            )

        def wait() -> Batch:
            images, masks = zip(*(each() for each in waiting), strict=True)
            return torch.cat(images), torch.cat(masks)

        return wait if len(waiting) > 1 else waiting[0]


def native_masks(split: Split, batch_size: int) -> Iterator[list[Tensor]]:
    """The masks of :func:`pair_batches`'s batches from their files, int64 [H, W], each of its own size; of an image without a
    mask one pixel of no class."""
    domain = split.domain
    assert isinstance(domain, MaskedDomain), type(domain)
    for begin in range(0, len(split), batch_size):
        keys = split.keys[begin : begin + batch_size].tolist()
        masks = [domain.mask(key) if domain.masks[key] else np.full((1, 1), IGNORED, np.uint8) for key in keys]
        yield [torch.from_numpy(mask.astype(np.int64)) for mask in masks]


def pair_batches(split: Split, reader: PairReader, batch_size: int) -> Iterator[Batch]:
    """Every image and its mask once, in the split's order; the last batch may be smaller and is never dropped."""
    starts, reader = range(0, len(split), batch_size), reader.seeing(split)
    return ahead((reader.start(split.keys[begin : begin + batch_size]) for begin in starts), reader.ahead)
