"""Single images: what they go through before a network sees them, and a cache of what was decoded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import get_worker_info
from torchvision.transforms import v2

from dfdgbench.datasets.base import Domain


@dataclass(frozen=True)
class ImageTransform:
    """From an RGB picture to a square tensor, plain or augmented as DomainBed augments.

    Plain: stretched to exactly ``size`` x ``size``, bilinear, antialiased; a picture of that size stays as it is.
    Augmented: a random resized crop of 70 to 100 % of the area, mirrored with probability 0.5 if ``hflip``, brightness,
    contrast, saturation and hue jittered by 0.3, grey with probability 0.1; drawn from PyTorch's global CPU generator.
    """

    size: int
    augment: bool = False
    hflip: bool = False

    def pixels(self, image: Image.Image) -> Tensor:
        """uint8 [3, size, size]."""
        made: Tensor = self._steps(image)
        return made

    def __call__(self, image: Image.Image) -> Tensor:
        """float32 [3, size, size] in [0, 1]."""
        return to_float(self.pixels(image))

    @cached_property
    def _steps(self) -> v2.Compose:
        side = (self.size, self.size)
        if not self.augment:
            return v2.Compose([v2.Resize(side, antialias=True), v2.PILToTensor()])
        crop = v2.RandomResizedCrop(side, scale=(0.7, 1.0), antialias=True)
        mirror = [v2.RandomHorizontalFlip()] if self.hflip else []
        colour = [v2.ColorJitter(0.3, 0.3, 0.3, 0.3), v2.RandomGrayscale(0.1)]
        return v2.Compose([crop, *mirror, *colour, v2.PILToTensor()])


def train_transform(size: int, augment: bool, hflip: bool) -> ImageTransform:
    """What a training image goes through: DomainBed's augmentation if ``augment``, else the same as in evaluation."""
    return ImageTransform(size, augment, augment and hflip)


def eval_transform(size: int) -> ImageTransform:
    """What an evaluated image goes through."""
    return ImageTransform(size)


def to_float(pixels: Tensor) -> Tensor:
    """float32 in [0, 1] from uint8 in 0..255, contiguous."""
    return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


class ImageCache:
    """Decoded images of open domains, up to ``limit`` bytes in all; what comes after that is read anew each time.

    Nothing is evicted but with its domain: a sweep over more than fits would evict every image just before its turn.
    A worker process has its own copy and ``limit`` divided by the number of workers.

    Args:
        limit: bytes; 0 keeps nothing.
    """

    def __init__(self, limit: int = 1 << 30) -> None:
        self.limit = limit
        self._kept: WeakKeyDictionary[Domain, dict[tuple[int, int], NDArray[np.uint8]]] = WeakKeyDictionary()
        self._bytes: WeakKeyDictionary[Domain, int] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[ImageCache], tuple[int]]:
        """Pickled empty: a worker that is spawned starts without content."""
        return ImageCache, (self.limit,)

    @property
    def used(self) -> int:
        """Bytes held."""
        return sum(self._bytes.values())

    def get(self, domain: Domain, size: int, index: int) -> NDArray[np.uint8] | None:
        """Image ``index`` at ``size`` (0: as decoded), or None."""
        return self._kept.get(domain, {}).get((size, index))

    def put(self, domain: Domain, size: int, index: int, image: NDArray[np.uint8]) -> None:
        """Keep ``image`` if it fits."""
        worker = get_worker_info()
        limit = self.limit // worker.num_workers if worker is not None else self.limit
        kept = self._kept.setdefault(domain, {})
        if (size, index) not in kept and self.used + image.nbytes <= limit:
            kept[size, index] = image
            self._bytes[domain] = self._bytes.get(domain, 0) + image.nbytes


SHARED_CACHE = ImageCache()
