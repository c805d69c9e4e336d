"""Digits: the ten digits as four corpora, the small benchmark of data-free domain generalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dfdgbench.datasets.base import DATASETS, Dataset, Labels, Metadata
from dfdgbench.datasets.disk import formats
from dfdgbench.datasets.disk.formats import Pixels
from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.errors import DataError

Part = tuple[Pixels, Labels]

SIZE = 32
MNIST_FOLDERS = ("Digits/MNIST/raw", "Digits/MNIST", "MNIST/raw", "MNIST/MNIST/raw", "MNIST")
MNISTM_FOLDERS = ("Digits/MNIST-M", "Digits/mnist_m", "MNIST-M", "mnist_m")
SVHN_FOLDERS = ("Digits/SVHN", "SVHN", "svhn")
USPS_FOLDERS = ("Digits/USPS", "USPS", "usps")


def read_mnist(root: Path) -> tuple[Part, Part]:
    """Train and test part of MNIST from its four idx files, packed or not, in any of ``MNIST_FOLDERS``."""

    def part(prefix: str) -> Part:
        images, labels = (formats.read_idx(_idx(root, f"{prefix}-{kind}")) for kind in ("images-idx3", "labels-idx1"))
        return images, labels.astype(np.int64)

    return part("train"), part("t10k")


def _idx(root: Path, name: str) -> Path:
    spellings = [f"{spelt}-ubyte{packed}" for spelt in (name, name.replace("-idx", ".idx")) for packed in ("", ".gz")]
    return formats.locate(root, f"MNIST's file {name}-ubyte", _below(MNIST_FOLDERS, spellings))


def read_mnistm(root: Path) -> tuple[Part, Part]:
    """Train and test part of MNIST-M as its archive unpacks: two folders of PNG files and two lists of labels."""

    def part(name: str) -> Part:
        lists = _below(MNISTM_FOLDERS, [f"mnist_m_{name}_labels.txt"])
        listed = formats.locate(root, f"MNIST-M's list mnist_m_{name}_labels.txt", lists)
        return formats.read_listed_images(listed.parent / f"mnist_m_{name}", listed, SIZE)

    return part("train"), part("test")


def read_svhn(root: Path) -> tuple[Part, Part]:
    """Train and test part of SVHN's cropped digits; the part ``extra`` is not used."""

    def part(name: str) -> Part:
        return formats.read_svhn(formats.locate(root, f"SVHN's file {name}", _below((*SVHN_FOLDERS, "."), [name])))

    return part("train_32x32.mat"), part("test_32x32.mat")


def read_usps(root: Path) -> tuple[Part, Part]:
    """Train and test part of USPS from libsvm's text files, packed or not, or else from ``usps.h5``."""
    train = formats.locate(root, "USPS", _below(USPS_FOLDERS, ["usps.bz2", "usps", "usps.h5"]))
    if train.suffix == ".h5":
        parts = formats.read_usps_h5(train)
        return parts["train"], parts["test"]
    test = formats.locate(root, "USPS's file usps.t", _below(USPS_FOLDERS, ["usps.t.bz2", "usps.t"]))
    return formats.read_usps_text(train), formats.read_usps_text(test)


def _below(folders: Sequence[str], names: Sequence[str]) -> list[str]:
    return [f"{folder}/{name}" for folder in folders for name in names]


READERS: tuple[Callable[[Path], tuple[Part, Part]], ...] = (read_mnist, read_mnistm, read_svhn, read_usps)


@DATASETS.register("Digits")
class Digits(Dataset):
    """MNIST, MNIST-M, SVHN and USPS at 32x32 in three channels, train and test parts as published.

    A domain is its train part followed by its test part: MNIST 60000 + 10000, MNIST-M 59001 + 9001, SVHN 73257 + 26032
    (without ``extra``), USPS 7291 + 2007. Grey images are repeated three times; other sizes are resized bilinearly.
    MNIST-M is made of MNIST's digits, so a teacher of one has seen the other's.
    """

    metadata = Metadata(
        name="Digits",
        description="ten digits, written and photographed: MNIST, MNIST-M, SVHN, USPS",
        domains=("MNIST", "MNIST-M", "SVHN", "USPS"),
        classes=tuple("0123456789"),
        counts=(70000, 68002, 99289, 9298),
        image_size=SIZE,
        hflip=False,
        small=True,
        network="resnet18",
        protocol="official",
        protocols=("domainbed", "official", "authors"),
        folder="Digits",
        licence="MNIST: CC BY-SA 3.0; SVHN: non-commercial use; MNIST-M, USPS: not stated",
        citation="LeCun et al. 1998 (MNIST), Ganin et al. 2015 (MNIST-M), Netzer et al. 2011 (SVHN), Hull 1994 (USPS)",
        homepage="http://ufldl.stanford.edu/housenumbers/",
        layout=(
            "Digits/MNIST/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz] (or torchvision's MNIST/raw/), "
            "Digits/MNIST-M/{mnist_m_train/, mnist_m_test/, mnist_m_train_labels.txt, mnist_m_test_labels.txt}, "
            "Digits/SVHN/{train,test}_32x32.mat, Digits/USPS/{usps,usps.t}[.bz2] (or usps.h5)"
        ),
    )

    def open(self, index: int) -> ArrayDomain:
        name = self.metadata.domains[index]
        (train, train_labels), (test, test_labels) = READERS[index](self.root())
        for part, images, labels in (("train", train, train_labels), ("test", test, test_labels)):
            if len(images) != len(labels) or not np.isin(labels, np.arange(10)).all():
                raise DataError(
                    f"The {part} part of {name} holds {len(images)} images and {len(labels)} labels, which must be "
                    f"as many and the digits 0 to 9. {formats.AGAIN}"
                )
        pixels = np.concatenate([formats.as_rgb(train, SIZE), formats.as_rgb(test, SIZE)])
        keys = np.arange(len(pixels), dtype=np.int64)
        parts = {"train": keys[: len(train)], "test": keys[len(train) :]}
        return ArrayDomain(name, pixels, np.concatenate([train_labels, test_labels]), parts)
