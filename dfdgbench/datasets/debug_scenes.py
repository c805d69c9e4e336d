"""DebugScenes: noise with masks, to see that a run of segmentation works before any data is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from dfdgbench.datasets.base import DATASETS, Metadata
from dfdgbench.datasets.domains import Mask, MaskedDomain
from dfdgbench.datasets.segmentation import SegmentationDataset, in_both_roles
from dfdgbench.seeds import seed_hash

HEIGHT, WIDTH = 32, 64
LEARNT, MEASURED = 6, 2
BLOCK = 8


class DrawnDomain(MaskedDomain):
    """Scenes that are drawn whenever they are asked for: blocks of a class's grey under noise, darker from domain to domain.

    Its files are numbers.
    """

    in_memory = True

    def __init__(self, name: str, classes: int) -> None:
        numbers = [str(number) for number in range(LEARNT + MEASURED)]
        parts = in_both_roles(np.arange(LEARNT), np.arange(LEARNT, LEARNT + MEASURED))
        super().__init__(name, Path(), numbers, numbers, self._drawn, parts)
        self.classes = classes

    def image(self, index: int) -> Image.Image:
        classes = self._drawn(self.files[index]).astype(np.int64)
        noise = self._random("noise", self.files[index]).randint(0, 60, (HEIGHT, WIDTH, 3))
        level = 180 // self.classes * classes // (1 + int(self.name))
        return Image.fromarray((noise + level[..., None]).astype(np.uint8))

    def mask(self, index: int) -> Mask:
        return self._drawn(self.masks[index])

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.name} {self.classes} {self.files} {self.masks}".encode()).hexdigest()

    def _drawn(self, number: str) -> Mask:
        blocks = self._random("classes", number).randint(0, self.classes, (HEIGHT // BLOCK, WIDTH // BLOCK))
        return np.kron(blocks, np.ones((BLOCK, BLOCK), dtype=np.int64)).astype(np.uint8)

    def _random(self, purpose: str, number: str) -> np.random.RandomState:
        return np.random.RandomState(seed_hash("DebugScenes", purpose, self.name, number))


@DATASETS.register("DebugScenes")
class DebugScenes(SegmentationDataset):
    """Three domains of 8 scenes in three classes, 6 of them to learn from."""

    subsets = {"two": ("0", "1")}
    metadata = Metadata(
        name="DebugScenes",
        description=f"8 scenes of noise a domain with masks at {WIDTH}x{HEIGHT}, to try a run of segmentation out",
        task="segmentation",
        domains=("0", "1", "2"),
        classes=("0", "1", "2"),
        palette=((60, 60, 60), (200, 80, 0), (0, 120, 200)),
        counts=(LEARNT + MEASURED,) * 3,
        image_size=HEIGHT,
        image_width=WIDTH,
        protocol="adaptation",
        protocols=("adaptation",),
        network="segnet_small",
        steps=20,
        checkpoint_freq=10,
        needs_data_dir=False,
    )

    def open(self, index: int) -> DrawnDomain:
        return DrawnDomain(self.metadata.domains[index], len(self.metadata.classes))
