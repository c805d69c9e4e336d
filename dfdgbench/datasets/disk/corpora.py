"""Where MNIST, MNIST-M, SVHN and USPS lie below a data folder, in whatever format each was taken from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfdgbench.datasets.disk import formats
from dfdgbench.datasets.disk.parts import AGAIN, Part
from dfdgbench.errors import DataError

MNIST_FOLDERS = ("Digits/MNIST/raw", "Digits/MNIST", "MNIST/raw", "MNIST/MNIST/raw", "MNIST")
MNIST_TREES = ("Digits/MNIST", "MNIST")
MNIST_SIDE = 28
MNISTM_FOLDERS = ("Digits/MNIST-M", "Digits/mnist_m", "MNIST-M", "mnist_m")
MNISTM_SIDE = 32
SVHN_FOLDERS = ("Digits/SVHN", "SVHN", "svhn")
USPS_FOLDERS = ("Digits/USPS", "USPS", "usps")
USPS_TESTS = {"usps": "usps.t", "zip.train": "zip.test"}
"""The file of USPS's test part, by the name of the train part's."""
FOLDERS = (*MNIST_FOLDERS, *MNISTM_FOLDERS, *SVHN_FOLDERS, *USPS_FOLDERS)

PART_NAMES = {"train": ("train", "training"), "test": ("test", "testing")}


def read_mnist(root: Path) -> tuple[Part, Part]:
    """Train and test part of MNIST, images [N, 28, 28], in the official order.

    Read from the four idx files, packed or not, in any of ``MNIST_FOLDERS``; where the first of them is not there, from a
    tree of images ``{train,test}/DIGIT/NUMBER.png`` (or ``training``, ``testing``) in any of ``MNIST_TREES``.
    """
    tree = _mnist_tree(root)
    if tree is not None and not any((root / file).is_file() for file in _idx_files("train-images-idx3")):
        train, test = (formats.read_digit_tree(folder, MNIST_SIDE) for folder in tree)
        return train, test

    def part(prefix: str) -> Part:
        images, labels = (formats.read_idx(_idx(root, f"{prefix}-{kind}")) for kind in ("images-idx3", "labels-idx1"))
        if images.shape[1:] != (MNIST_SIDE, MNIST_SIDE) or labels.ndim != 1:
            raise DataError(
                f"MNIST's {prefix} files below {root} hold images {list(images.shape)} and labels {list(labels.shape)}; "
                f"they are [N, {MNIST_SIDE}, {MNIST_SIDE}] and [N]. {AGAIN}"
            )
        return images, labels.astype(np.int64)

    return part("train"), part("t10k")


def _mnist_tree(root: Path) -> tuple[Path, Path] | None:
    for folder in MNIST_TREES:
        found = [
            [root / folder / name for name in names if (root / folder / name).is_dir()] for names in PART_NAMES.values()
        ]
        if all(found):
            return found[0][0], found[1][0]
    return None


def _idx_files(name: str) -> list[str]:
    spellings = [f"{spelt}-ubyte{packed}" for spelt in (name, name.replace("-idx", ".idx")) for packed in ("", ".gz")]
    return _below(MNIST_FOLDERS, spellings)


def _idx(root: Path, name: str) -> Path:
    trees = [f"{folder}/{{train,test}}/DIGIT/NUMBER.png" for folder in MNIST_TREES]
    return formats.locate(root, f"MNIST's file {name}-ubyte", [*_idx_files(name), *trees])


def read_mnistm(root: Path) -> tuple[Part, Part]:
    """Train and test part of MNIST-M as its archive unpacks: two folders of PNG files and two lists of labels.

    Images are [N, 32, 32, 3].
    """

    def part(name: str) -> Part:
        lists = _below(MNISTM_FOLDERS, [f"mnist_m_{name}_labels.txt"])
        listed = formats.locate(root, f"MNIST-M's list mnist_m_{name}_labels.txt", lists)
        return formats.read_listed_images(listed.parent / f"mnist_m_{name}", listed, MNISTM_SIDE)

    return part("train"), part("test")


def read_svhn(root: Path) -> tuple[Part, Part]:
    """Train and test part of SVHN's cropped digits, images [N, 32, 32, 3]; the part ``extra`` is not used."""

    def part(name: str) -> Part:
        return formats.read_svhn(formats.locate(root, f"SVHN's file {name}", _below((*SVHN_FOLDERS, "."), [name])))

    return part("train_32x32.mat"), part("test_32x32.mat")


def read_usps(root: Path) -> tuple[Part, Part]:
    """Train and test part of USPS, images [N, 16, 16].

    Read from libsvm's text files (``usps``, ``usps.t``, packed or not), from ``usps.h5``, or from the text files of *The
    Elements of Statistical Learning* (``zip.train``, ``zip.test``, packed or not): the first of them that is there.
    """
    names = ["usps.bz2", "usps", "usps.h5", "zip.train.gz", "zip.train"]
    train = formats.locate(root, "USPS", _below(USPS_FOLDERS, names))
    if train.suffix == ".h5":
        parts = formats.read_usps_h5(train)
        return parts["train"], parts["test"]
    stem, packed = ("usps", ".bz2") if train.name.startswith("usps") else ("zip.train", ".gz")
    name = USPS_TESTS[stem]
    test = formats.locate(root, f"USPS's file {name}", _below(USPS_FOLDERS, [name + packed, name]))
    read = formats.read_usps_text if stem == "usps" else formats.read_usps_zip
    return read(train), read(test)


def _below(folders: Sequence[str], names: Sequence[str]) -> list[str]:
    return [f"{folder}/{name}" for folder in folders for name in names]
