"""Where MNIST, MNIST-M, SVHN and USPS lie below a data folder, in whatever format each was taken from.

Each is read, or its images are counted without decoding any. Either raises ``MissingDataError`` where it is not there, and
``DataError`` where it is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfdgbench.datasets.disk import counts, formats
from dfdgbench.datasets.disk.parts import AGAIN, Part, agreed
from dfdgbench.errors import DataError

MNIST_FOLDERS = ("Digits/MNIST/raw", "Digits/MNIST", "MNIST/raw", "MNIST/MNIST/raw", "MNIST")
MNIST_TREES = ("Digits/MNIST", "MNIST")
MNIST_PREFIXES = {"train": "train", "test": "t10k"}
"""Of the idx files' names, by part."""
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
    if tree is not None:
        train, test = (formats.read_digit_tree(folder, MNIST_SIDE) for folder in tree)
        return train, test

    def read(part: str) -> Part:
        images, labels = (formats.read_idx(path) for path in _idx_files(root, part))
        _check_mnist(root, part, images.shape, labels.shape)
        return images, labels.astype(np.int64)

    return read("train"), read("test")


def count_mnist(root: Path) -> int:
    """Images of both parts of MNIST, in whichever format :func:`read_mnist` would read them from."""
    tree = _mnist_tree(root)
    if tree is not None:
        return sum(counts.digit_tree(folder) for folder in tree)

    def count(part: str) -> int:
        images, labels = (counts.idx_shape(path) for path in _idx_files(root, part))
        _check_mnist(root, part, images, labels)
        return agreed("MNIST", part, images[0], labels[0])

    return count("train") + count("test")


def _check_mnist(root: Path, part: str, images: Sequence[int], labels: Sequence[int]) -> None:
    if tuple(images[1:]) != (MNIST_SIDE, MNIST_SIDE) or len(labels) != 1:
        raise DataError(
            f"MNIST's {MNIST_PREFIXES[part]} files below {root} hold images {list(images)} and labels {list(labels)}; "
            f"they are [N, {MNIST_SIDE}, {MNIST_SIDE}] and [N]. {AGAIN}"
        )


def _mnist_tree(root: Path) -> tuple[Path, Path] | None:
    """The folders of the train and the test images; None where there are none, or idx files, which go first."""
    if any((root / file).is_file() for file in _idx_places("train-images-idx3")):
        return None
    for folder in MNIST_TREES:
        found = [
            [root / folder / name for name in names if (root / folder / name).is_dir()] for names in PART_NAMES.values()
        ]
        if all(found):
            return found[0][0], found[1][0]
    return None


def _idx_places(name: str) -> list[str]:
    spellings = [f"{spelt}-ubyte{packed}" for spelt in (name, name.replace("-idx", ".idx")) for packed in ("", ".gz")]
    return _below(MNIST_FOLDERS, spellings)


def _idx_files(root: Path, part: str) -> tuple[Path, Path]:
    """The files of the images and of the labels of a part."""
    prefix = MNIST_PREFIXES[part]
    trees = [f"{folder}/{{train,test}}/DIGIT/NUMBER.png" for folder in MNIST_TREES]
    images, labels = (
        formats.locate(root, f"MNIST's file {name}-ubyte", [*_idx_places(name), *trees])
        for name in (f"{prefix}-images-idx3", f"{prefix}-labels-idx1")
    )
    return images, labels


def read_mnistm(root: Path) -> tuple[Part, Part]:
    """Train and test part of MNIST-M as its archive unpacks: two folders of PNG files and two lists of labels.

    Images are [N, 32, 32, 3].
    """
    train, test = (formats.read_listed_images(*_mnistm_part(root, part), MNISTM_SIDE) for part in ("train", "test"))
    return train, test


def count_mnistm(root: Path) -> int:
    """Images of both parts of MNIST-M, by its lists, all of whose files must be there."""
    return sum(len(formats.listed_files(*_mnistm_part(root, part))[0]) for part in ("train", "test"))


def _mnistm_part(root: Path, part: str) -> tuple[Path, Path]:
    """The folder and the list of a part."""
    name = f"mnist_m_{part}_labels.txt"
    listed = formats.locate(root, f"MNIST-M's list {name}", _below(MNISTM_FOLDERS, [name]))
    return listed.parent / f"mnist_m_{part}", listed


def read_svhn(root: Path) -> tuple[Part, Part]:
    """Train and test part of SVHN's cropped digits, images [N, 32, 32, 3]; the part ``extra`` is not used."""
    train, test = (formats.read_svhn(_svhn_file(root, part)) for part in ("train", "test"))
    return train, test


def count_svhn(root: Path) -> int:
    """Images of both parts of SVHN's cropped digits."""
    return sum(counts.svhn(_svhn_file(root, part)) for part in ("train", "test"))


def _svhn_file(root: Path, part: str) -> Path:
    name = f"{part}_32x32.mat"
    return formats.locate(root, f"SVHN's file {name}", _below((*SVHN_FOLDERS, "."), [name]))


def read_usps(root: Path) -> tuple[Part, Part]:
    """Train and test part of USPS, images [N, 16, 16].

    Read from libsvm's text files (``usps``, ``usps.t``, packed or not), from ``usps.h5``, or from the text files of *The
    Elements of Statistical Learning* (``zip.train``, ``zip.test``, packed or not): the first of them that is there.
    """
    file = _usps_file(root)
    if file.suffix == ".h5":
        parts = formats.read_usps_h5(file)
        return parts["train"], parts["test"]
    read = formats.read_usps_text if file.name.startswith("usps") else formats.read_usps_zip
    return read(file), read(_usps_test(root, file))


def count_usps(root: Path) -> int:
    """Images of both parts of USPS, in whichever format :func:`read_usps` would read them from."""
    file = _usps_file(root)
    return counts.usps_h5(file) if file.suffix == ".h5" else sum(map(counts.lines, (file, _usps_test(root, file))))


def _usps_file(root: Path) -> Path:
    """The file of the train part, or of both."""
    names = ["usps.bz2", "usps", "usps.h5", "zip.train.gz", "zip.train"]
    return formats.locate(root, "USPS", _below(USPS_FOLDERS, names))


def _usps_test(root: Path, train: Path) -> Path:
    """The file of the test part, in the format of ``train``."""
    stem, packed = ("usps", ".bz2") if train.name.startswith("usps") else ("zip.train", ".gz")
    name = USPS_TESTS[stem]
    return formats.locate(root, f"USPS's file {name}", _below(USPS_FOLDERS, [name + packed, name]))


def _below(folders: Sequence[str], names: Sequence[str]) -> list[str]:
    return [f"{folder}/{name}" for folder in folders for name in names]
