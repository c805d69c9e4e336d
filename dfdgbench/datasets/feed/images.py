"""Bytes to floats, and a cache of plain images."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dfdgbench.datasets.domains import Domain
from dfdgbench.datasets.feed.pixels import Pixels


def to_float(pixels: Tensor) -> Tensor:
    """float32 in [0, 1] from uint8 in 0..255, contiguous."""
    # Bytes are brought into order before they become four times as many.
    return pixels.contiguous().to(torch.float32).div_(255)


class ImageCache:
    """Plain images of open domains, up to ``limit`` bytes in all; what comes after that is read anew each time.

    Nothing is evicted but with its domain: a sweep over more than fits would evict every image just before its turn.

    Args:
        limit: bytes; 0 keeps nothing.
    """

    def __init__(self, limit: int = 1 << 30) -> None:
        self.limit = limit
        self._kept: WeakKeyDictionary[Domain, dict[tuple[int, int], Pixels]] = WeakKeyDictionary()
        self._bytes: WeakKeyDictionary[Domain, int] = WeakKeyDictionary()

    @property
    def used(self) -> int:
        """Bytes held."""
        return sum(self._bytes.values())

    def get(self, domain: Domain, size: int, index: int) -> Pixels | None:
        """Image ``index`` at ``size``, or None."""
        return self._kept.get(domain, {}).get((size, index))

    def put(self, domain: Domain, size: int, index: int, image: Pixels) -> None:
        """Keep a copy of ``image`` if it fits."""
        kept = self._kept.setdefault(domain, {})
        if (size, index) not in kept and self.used + image.nbytes <= self.limit:
            kept[size, index] = image.copy()
            self._bytes[domain] = self._bytes.get(domain, 0) + image.nbytes


SHARED_CACHE = ImageCache()
