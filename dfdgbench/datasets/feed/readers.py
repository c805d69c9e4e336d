"""How the pixels of a domain's images are had: from memory, from a store (the fast path), or from their files (the exact path).

A reader *starts* a batch and hands back what waits for it, so that batches can be made ahead: on the fast path by threads of this
process (OpenCV releases Python's lock), on the exact path by the process's one pool of workers. All readers of a domain
agree on plain images to the bit, and on augmented ones but for rounding and for how a store shrank the file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dfdgbench.datasets.disk.decode import read_rgb
from dfdgbench.datasets.domains import ArrayDomain, Domain, FolderDomain, Keys
from dfdgbench.datasets.feed import pool
from dfdgbench.datasets.feed.augment import apply
from dfdgbench.datasets.feed.images import SHARED_CACHE, ImageCache, to_float
from dfdgbench.datasets.feed.local import Local
from dfdgbench.datasets.feed.pixels import Drawing, Pixels, exact, fast, plain
from dfdgbench.datasets.feed.shapes import train_side
from dfdgbench.datasets.feed.store import Progress, Shape, Store, open_store
from dfdgbench.errors import ConfigError

PIECE = 16
CPU = torch.device("cpu")
Waiting = Callable[[], Tensor]


@dataclass(frozen=True)
class DataPath:
    """How images are read.

    Attributes:
        kind: "fast" keeps decoded images in stores, "exact" crops from the original file with PIL as DomainBed does.
        stores: folders for stores, the first that can be written is used.
        workers: processes that make batches on the exact path, 0 for none.
        jobs: processes that decode a store.
        threads: threads that make batches on the fast path.
        device: where batches are wanted; on a GPU stored images are augmented there.
        progress: called with the images decoded into a store and their number.
        local: where copies of stores are read, on this machine's own disk; None: stores are read where they lie.
        dataset: what the stores are built for, for listings.
    """

    kind: Literal["fast", "exact"] = "fast"
    stores: tuple[Path, ...] = ()
    workers: int = 0
    jobs: int = 1
    threads: int = 1
    device: torch.device = CPU
    progress: Progress | None = None
    local: Local | None = None
    dataset: str = ""

    def open(self, domain: FolderDomain, shape: Shape) -> Store:
        """The store of ``domain``; errors as of :func:`dfdgbench.datasets.feed.store.open_store`."""
        return open_store(
            domain,
            shape,
            self.stores,
            dataset=self.dataset,
            jobs=self.jobs,
            progress=self.progress,
            local=self.local,
        )


def make_reader(domain: Domain, size: int, path: DataPath, native: int | None = None) -> Reader:
    """The reader of ``domain`` for a network that sees ``size`` x ``size`` pixels; ``native`` as in the dataset's metadata."""
    if isinstance(domain, ArrayDomain):
        return ArrayReader(domain, size, path)
    assert isinstance(domain, FolderDomain), type(domain)
    return StoreReader(domain, size, path, native) if path.kind == "fast" else FileReader(domain, size, path)


class Reader(ABC):
    """Attributes:
    ahead: how many batches are worth making ahead.
    """

    ahead = 2

    def __init__(self, domain: Domain, size: int, path: DataPath) -> None:
        self.domain, self.size, self.path = domain, size, path

    @abstractmethod
    def start(self, keys: Keys, drawn: Drawing | None) -> Waiting:
        """Start a batch: images ``keys``, plain or with what was drawn done to them.

        The call that is returned waits for float32 [B, C, size, size] in [0, 1] on the path's device.
        """

    def _finished(self, pixels: Pixels) -> Tensor:
        return to_float(self._moved(pixels))

    def _moved(self, pixels: Pixels) -> Tensor:
        """uint8 [B, C, H, W] on the device, from [B, H, W, C]."""
        made = torch.from_numpy(pixels)
        if self.path.device.type == "cuda":
            made = made.pin_memory().to(self.path.device, non_blocking=True)
        return made.permute(0, 3, 1, 2)


class ArrayReader(Reader):
    """Images that are in memory; those of another size than the networks' are resized and cached."""

    ahead = 0

    def __init__(self, domain: ArrayDomain, size: int, path: DataPath, cache: ImageCache = SHARED_CACHE) -> None:
        super().__init__(domain, size, path)
        self.images, self.cache = domain.images, cache

    def start(self, keys: Keys, drawn: Drawing | None) -> Waiting:
        if drawn is None:
            return lambda: self._finished(self._plain(keys))
        if self.images.shape[-1] != 3:
            raise ConfigError(
                f"The domain '{self.domain.name}' has {self.images.shape[-1]} channels; augmentation needs 3. "
                "Type --hparam data_augmentation=false."
            )
        return lambda: self._finished(self._augmented(keys, drawn))

    def _plain(self, keys: Keys) -> Pixels:
        if self.images.shape[1:3] == (self.size, self.size):
            return self.images[keys]
        return np.stack([self._resized(key) for key in keys.tolist()])

    def _resized(self, key: int) -> Pixels:
        made = self.cache.get(self.domain, self.size, key)
        if made is None:
            channels = np.moveaxis(self.images[key], -1, 0)
            made = np.concatenate(
                [plain(Image.fromarray(channel), self.size, self.size) for channel in channels], axis=-1
            )
            self.cache.put(self.domain, self.size, key, made)
        return made

    def _augmented(self, keys: Keys, drawn: Drawing) -> Pixels:
        if self.path.kind == "exact":
            return np.stack(
                [exact(self.domain.image(key), drawn, row, self.size) for row, key in enumerate(keys.tolist())]
            )
        boxes = drawn.boxes(*self.images.shape[1:3])
        made = [fast(self.images[key], boxes[row], drawn, row, self.size) for row, key in enumerate(keys.tolist())]
        return np.stack(made)


class FileReader(Reader):
    """The exact path: files are decoded anew each time, by the pool where there are workers. Plain images are cached."""

    def __init__(self, domain: FolderDomain, size: int, path: DataPath, cache: ImageCache = SHARED_CACHE) -> None:
        super().__init__(domain, size, path)
        self.files, self.cache = domain, cache
        self.ahead = 2 if path.workers else 0

    def start(self, keys: Keys, drawn: Drawing | None) -> Waiting:
        numbers = keys.tolist()
        if drawn is None and all(self.cache.get(self.domain, self.size, key) is not None for key in set(numbers)):
            return lambda: self._finished(np.stack([self._cached(key) for key in numbers]))
        paths = [self.files.path(key) for key in numbers]
        made = _pieces(pool.shared(self.path.workers), from_files, paths, drawn, self.size)

        def wait() -> Tensor:
            pixels = made()
            if drawn is None:
                for key, image in zip(numbers, pixels, strict=True):
                    self.cache.put(self.domain, self.size, key, image)
            return self._finished(pixels)

        return wait

    def _cached(self, key: int) -> Pixels:
        found = self.cache.get(self.domain, self.size, key)
        assert found is not None
        return found


def from_files(paths: Sequence[str], drawn: Drawing | None, size: int) -> Pixels:
    """uint8 [B, size, size, 3] from image files: a worker process's task."""
    images = (read_rgb(path) for path in paths)
    if drawn is None:
        return np.stack([plain(image, size, size) for image in images])
    return np.stack([exact(image, drawn, row, size) for row, image in enumerate(images)])


class StoreReader(Reader):
    """The fast path: from stores, which are built on their first use."""

    def __init__(self, domain: FolderDomain, size: int, path: DataPath, native: int | None = None) -> None:
        super().__init__(domain, size, path)
        self.files, self.native = domain, native

    @cached_property
    def train(self) -> Store:
        """The store that training crops are cut from."""
        return self._open(train_side(self.size, self.native))

    @cached_property
    def whole(self) -> Store:
        """The store that plain images are taken from: theirs, or one that lost nothing."""
        if self.native is not None and train_side(self.size, self.native) == self.native and self.train.lossless:
            return self.train
        return self._open(self.size)

    def _open(self, side: int) -> Store:
        return self.path.open(self.files, Shape(side, side))

    def start(self, keys: Keys, drawn: Drawing | None) -> Waiting:
        threads = _threads(self.path.threads)
        if drawn is None:
            made = _pieces(threads, from_store, keys, None, self.whole, self.size)
            return lambda: self._finished(made())
        if self.path.device.type == "cpu":
            made = _pieces(threads, from_store, keys, drawn, self.train, self.size)
            return lambda: self._finished(made())
        gathered = threads.submit(self.train.pixels.__getitem__, keys)
        return lambda: self._on_device(gathered.result(), keys, drawn)

    def _on_device(self, pixels: Pixels, keys: Keys, drawn: Drawing) -> Tensor:
        boxes = stored_boxes(self.train, keys, drawn)
        return apply(to_float(self._moved(pixels)), drawn, boxes, (self.size, self.size))


def from_store(keys: Keys, drawn: Drawing | None, store: Store, size: int) -> Pixels:
    """uint8 [B, size, size, 3] from a store: a thread's task."""
    images = store.pixels[keys]
    if drawn is None:
        if images.shape[1:3] == (size, size):
            return images
        return np.stack([plain(Image.fromarray(image), size, size) for image in images])
    boxes = np.rint(stored_boxes(store, keys, drawn)).astype(np.int64)
    # A crop of a very small or very long image may round to nothing, or reach over the border.
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
    boxes[:, :2] = np.minimum(boxes[:, :2], np.array(images.shape[1:3]) - boxes[:, 2:]).clip(0)
    return np.stack([fast(image, boxes[row], drawn, row, size) for row, image in enumerate(images)])


def stored_boxes(store: Store, keys: Keys, drawn: Drawing) -> np.ndarray:
    """The crops, drawn in pixels of the files as they were, in pixels of the store: float64 [B, 4]."""
    sizes = store.sizes[keys].astype(np.int64)
    scale = np.array([store.shape.height, store.shape.width]) / sizes
    return drawn.boxes(sizes[:, 0], sizes[:, 1]) * np.concatenate((scale, scale), axis=1)


def _pieces(
    executor: Executor,
    task: Callable[..., Pixels],
    items: Keys | Sequence[str],
    drawn: Drawing | None,
    *options: object,
) -> Callable[[], Pixels]:
    """``task`` on pieces of a batch, in an executor; the call that is returned waits for all of them."""
    with pool.told():
        futures = [
            executor.submit(task, items[i : i + PIECE], None if drawn is None else drawn.rows(i, i + PIECE), *options)
            for i in range(0, len(items), PIECE)
        ]

    def wait() -> Pixels:
        with pool.told():
            return np.concatenate([future.result() for future in futures])

    return wait


@lru_cache(maxsize=4)
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="feed")
