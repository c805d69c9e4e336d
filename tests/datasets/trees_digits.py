"""Small trees of the small-image data sets, laid out as their downloads are."""

from __future__ import annotations

import bz2
import gzip
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from dfdgbench.datasets.disk.mnistm import BUILT

Bytes = NDArray[np.uint8]
Counts = Mapping[str, int]

FEW: Counts = {"train": 6, "test": 4}
MORE: Counts = {"train": 36, "test": 24}
MNIST_FILES = {"train": "train", "test": "t10k"}


def grey(side: int, count: int) -> Bytes:
    """Noise uint8 [count, side, side] that differs from count to count."""
    return np.random.RandomState(count).randint(0, 256, (count, side, side)).astype(np.uint8)


def colour(side: int, count: int) -> Bytes:
    """Noise uint8 [count, side, side, 3]."""
    return np.random.RandomState(count).randint(0, 256, (count, side, side, 3)).astype(np.uint8)


def digits(count: int) -> Bytes:
    """Labels 0, 1, ..., 9, 0, ..."""
    return (np.arange(count) % 10).astype(np.uint8)


def idx(array: Bytes) -> bytes:
    """MNIST's format."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_mnist(folder: Path, packed: bool = False, dotted: bool = False, counts: Counts = FEW) -> None:
    """The four idx files."""
    folder.mkdir(parents=True)
    for part, count in counts.items():
        for kind, array in (("images-idx3", grey(28, count)), ("labels-idx1", digits(count))):
            name = f"{MNIST_FILES[part]}-{kind.replace('-idx', '.idx') if dotted else kind}-ubyte"
            content = idx(array)
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)


def write_mnist_tree(folder: Path, counts: Counts = FEW, first: int = 0) -> None:
    """``{train,test}/DIGIT/NUMBER.png``, numbered through both parts, numbers of different lengths."""
    number = first
    for part, count in counts.items():
        for digit in range(10):
            (folder / part / str(digit)).mkdir(parents=True)
        for image, digit in zip(grey(28, count), digits(count), strict=True):
            Image.fromarray(image).save(folder / part / str(digit) / f"{number}.png")
            number += 1


def write_mnistm(folder: Path, counts: Counts = FEW) -> None:
    """As the archive unpacks; image and label of a row are the same number, in falling order."""
    for part, count in counts.items():
        (folder / f"mnist_m_{part}").mkdir(parents=True)
        rows = []
        for number in reversed(range(count)):
            image = Image.fromarray(np.full((32, 32, 3), number, np.uint8))
            image.save(folder / f"mnist_m_{part}" / f"{number:08d}.png")
            rows.append(f"{number:08d}.png {number % 10}\n")
        (folder / f"mnist_m_{part}_labels.txt").write_text("".join(rows))


def write_built_mnistm(root: Path, counts: Counts = FEW) -> None:
    """What the recipe leaves."""
    content = io.BytesIO()
    images = {f"{part}_images": colour(28, count) for part, count in counts.items()}
    np.savez(content, **images, **{f"{part}_labels": digits(count).astype(np.int64) for part, count in counts.items()})
    (root / BUILT).parent.mkdir(parents=True, exist_ok=True)
    (root / BUILT).write_bytes(content.getvalue())


def write_photos(folder: Path, count: int, width: int = 48, height: int = 31) -> None:
    """JPEG files as in BSDS500, every other one upright, and what Windows leaves beside them."""
    folder.mkdir(parents=True)
    (folder / "Thumbs.db").write_bytes(b"none")
    for number in range(count):
        photo = np.random.RandomState(number).randint(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(photo if number % 2 else photo.transpose(1, 0, 2)).save(folder / f"{1000 + 37 * number}.jpg")


def write_svhn(folder: Path, counts: Counts = FEW) -> None:
    """Two MATLAB files, where the digit 0 has the label 10."""
    folder.mkdir(parents=True)
    for part, count in counts.items():
        labels = digits(count)
        labels[labels == 0] = 10
        content = {"X": colour(32, count).transpose(1, 2, 3, 0), "y": labels[:, None]}
        savemat(folder / f"{part}_32x32.mat", content, do_compression=True)


def write_usps(folder: Path, packed: bool = True, counts: Counts = FEW) -> None:
    """libsvm's two files."""
    folder.mkdir(parents=True)
    for name, count in (("usps", counts["train"]), ("usps.t", counts["test"])):
        values = grey(16, count).reshape(count, -1) / 255 * 2 - 1
        rows = zip(digits(count), values, strict=True)
        lines = [f"{label + 1} " + " ".join(f"{j + 1}:{v:.6f}" for j, v in enumerate(row)) for label, row in rows]
        content = "\n".join(lines).encode() + b"\n"
        (folder / (name + ".bz2" * packed)).write_bytes(bz2.compress(content) if packed else content)


def write_usps_zip(folder: Path, packed: bool = True, counts: Counts = FEW) -> None:
    """The two files of *The Elements of Statistical Learning*, whose lines end in a blank."""
    folder.mkdir(parents=True)
    for part, count in counts.items():
        values = grey(16, count).reshape(count, -1) / 255 * 2 - 1
        rows = zip(digits(count), values, strict=True)
        lines = [f"{label}.0000 " + " ".join(f"{v:.4f}" for v in row) + " \n" for label, row in rows]
        content = "".join(lines).encode()
        (folder / (f"zip.{part}" + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)


def write_cifar(folder: Path, rows: int) -> None:
    """The six files of the binary version, each of ``rows`` images; labels run through all of them."""
    folder.mkdir(parents=True)
    for number, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        images = cifar_images(number, rows).transpose(0, 3, 1, 2).reshape(rows, -1)
        labels = ((np.arange(rows) + number * rows) % 10).astype(np.uint8)
        (folder / name).write_bytes(np.concatenate([labels[:, None], images], axis=1).tobytes())


def cifar_images(number: int, rows: int) -> Bytes:
    """What :func:`write_cifar` writes into file ``number``: uint8 [rows, 32, 32, 3]."""
    return np.random.RandomState(number).randint(0, 256, (rows, 32, 32, 3)).astype(np.uint8)


def mnist_tree(data_dir: Path) -> None:
    """MNIST in torchvision's layout."""
    write_mnist(data_dir / "MNIST" / "raw", packed=True, counts=MORE)


def mnist(data_dir: Path) -> dict[str, Any]:
    """One domain of 60 images."""
    mnist_tree(data_dir)
    return {"counts": (60,)}


def rotated_mnist(data_dir: Path) -> dict[str, Any]:
    """Six domains of 10 images."""
    mnist_tree(data_dir)
    return {"counts": (10,) * 6}


def colored_mnist(data_dir: Path) -> dict[str, Any]:
    """Three domains of 20 images."""
    mnist_tree(data_dir)
    return {"counts": (20,) * 3}


def _digits(data_dir: Path) -> dict[str, Any]:
    write_mnist(data_dir / "Digits" / "MNIST", packed=True, counts=MORE)
    write_svhn(data_dir / "Digits" / "SVHN", counts=MORE)
    write_usps(data_dir / "Digits" / "USPS", counts=MORE)
    return {"counts": (60,) * 4}


def digits_tree(data_dir: Path) -> dict[str, Any]:
    """Four domains of 60 images, MNIST-M as its archive unpacks."""
    write_mnistm(data_dir / "Digits" / "MNIST-M", counts=MORE)
    return _digits(data_dir)


def digits_built_tree(data_dir: Path) -> dict[str, Any]:
    """Four domains of 60 images, MNIST-M as its recipe makes it."""
    write_built_mnistm(data_dir, counts=MORE)
    return _digits(data_dir)


def cifar10(data_dir: Path) -> dict[str, Any]:
    """One domain of 60 images."""
    write_cifar(data_dir / "CIFAR10" / "cifar-10-batches-bin", rows=10)
    return {"counts": (60,)}


TREES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "MNIST": mnist,
    "ColoredMNIST": colored_mnist,
    "RotatedMNIST": rotated_mnist,
    "Digits": digits_tree,
    "DigitsBuilt": digits_built_tree,
    "CIFAR10": cifar10,
}
"""Each writes a small tree below a data folder, and returns what of the metadata differs for it."""
