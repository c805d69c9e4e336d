"""CIFAR-10: small colour photographs of ten classes, one domain."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dfdgbench.datasets.base import DATASETS, Dataset, Metadata, Source
from dfdgbench.datasets.disk import counts, formats
from dfdgbench.datasets.disk.parts import joined
from dfdgbench.datasets.domains import ArrayDomain

SIZE = 32
FOLDERS = ("CIFAR10/cifar-10-batches-bin", "cifar-10-batches-bin", "CIFAR10")
FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")


@DATASETS.register("CIFAR10")
class CIFAR10(Dataset):
    """Krizhevsky's 60,000 photographs at 32x32, one domain of 50,000 train and 10,000 test images.

    Read from the binary version; the Python version holds pickles, which are never loaded.
    """

    metadata = Metadata(
        name="CIFAR10",
        description="small photographs of ten classes, one domain, as published",
        domains=("CIFAR10",),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        counts=(60000,),
        image_size=SIZE,
        native_size=SIZE,
        small=True,
        protocol="official",
        protocols=("domainbed", "official"),
        folder="CIFAR10",
        licence="not stated",
        citation="Krizhevsky 2009, Learning multiple layers of features from tiny images",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        layout="CIFAR10/cifar-10-batches-bin/{data_batch_1,...,data_batch_5,test_batch}.bin",
        sources=(
            # The home page gives an MD5 alone, c32a1d4ab5d03f1284b67883e8d87530; the SHA-256 is the one that gomlx pins.
            Source(
                file="cifar-10-binary.tar.gz",
                urls=(
                    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                    "https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz",
                    "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
                ),
                sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                size=170052171,
                into="CIFAR10",
            ),
        ),
    )

    @classmethod
    def strays(cls, data_dir: Path) -> list[str]:
        """None: the domain has no folder of its own."""
        return []

    def open(self, index: int) -> ArrayDomain:
        parts = [formats.read_cifar(self._locate(file), self._rows) for file in FILES]
        train = tuple(np.concatenate(arrays) for arrays in zip(*parts[:-1], strict=True))
        return joined(self.metadata.domains[index], (train[0], train[1]), parts[-1], len(self.metadata.classes))

    def listed(self, index: int) -> int:
        """As of any dataset, by the sizes of the files."""
        return sum(counts.cifar(self._locate(file), self._rows) for file in FILES)

    @property
    def _rows(self) -> int:
        """Images in each file."""
        return (self.metadata.counts or (60000,))[0] // len(FILES)

    def _locate(self, file: str) -> Path:
        what = f"CIFAR-10's file {file} (of its binary version)"
        return formats.locate(self.root(), what, [f"{folder}/{file}" for folder in FOLDERS])
