"""Debug28 and Debug224: noise with random labels, to see that a run works before any data is there."""

from __future__ import annotations

import numpy as np

from dfdgbench.datasets.base import DATASETS, Dataset, Metadata
from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.seeds import seed_hash

IMAGES = 16


class Debug(Dataset):
    """Three domains of 16 images of uniform noise in two classes.

    DomainBed draws normal noise from the run's global generator, so that its content differs between runs; here
    the content is a function of the dataset's name and the domain's index alone.
    """

    def open(self, index: int) -> ArrayDomain:
        size = self.metadata.image_size
        draw = np.random.RandomState(seed_hash(self.metadata.name, index))
        images = draw.randint(0, 256, size=(IMAGES, size, size, 3)).astype(np.uint8)
        labels = draw.randint(0, len(self.metadata.classes), size=IMAGES).astype(np.int64)
        return ArrayDomain(self.metadata.domains[index], images, labels)


def _metadata(name: str, size: int, small: bool) -> Metadata:
    return Metadata(
        name=name,
        description=f"{IMAGES} images of noise a domain at {size}x{size}, to try a run out",
        domains=("0", "1", "2"),
        classes=("0", "1"),
        counts=(IMAGES,) * 3,
        image_size=size,
        augment=False,
        small=small,
        checkpoint_freq=100,
        needs_data_dir=False,
        citation="Gulrajani and Lopez-Paz 2021",
    )


@DATASETS.register("Debug28")
class Debug28(Debug):
    """Noise at 28x28."""

    metadata = _metadata("Debug28", 28, small=True)


@DATASETS.register("Debug224")
class Debug224(Debug):
    """Noise at 224x224."""

    metadata = _metadata("Debug224", 224, small=False)
