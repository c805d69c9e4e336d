"""Digits in every format it is published in, on small files written here."""

from __future__ import annotations

import bz2
import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from dfdgbench.datasets.base import Domain
from dfdgbench.datasets.digits import Digits
from dfdgbench.datasets.disk import formats
from dfdgbench.errors import DataError, MissingExtraError

COUNTS = {"train": 6, "test": 4}
MNIST_FILES = {"train": "train", "test": "t10k"}


def grey(side: int, count: int) -> NDArray[np.uint8]:
    return np.random.RandomState(count).randint(0, 256, (count, side, side)).astype(np.uint8)


def idx(array: NDArray[np.uint8]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_mnist(folder: Path, packed: bool = False, dotted: bool = False) -> None:
    folder.mkdir(parents=True)
    for part, count in COUNTS.items():
        for kind, array in (("images-idx3", grey(28, count)), ("labels-idx1", np.arange(count).astype(np.uint8))):
            name = f"{MNIST_FILES[part]}-{kind.replace('-idx', '.idx') if dotted else kind}-ubyte"
            content = idx(array)
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)


def write_mnistm(folder: Path) -> None:
    for part, count in COUNTS.items():
        (folder / f"mnist_m_{part}").mkdir(parents=True)
        rows = []
        for number in reversed(range(count)):
            image = Image.fromarray(np.full((32, 32, 3), number, np.uint8))
            image.save(folder / f"mnist_m_{part}" / f"{number:08d}.png")
            rows.append(f"{number:08d}.png {number}\n")
        (folder / f"mnist_m_{part}_labels.txt").write_text("".join(rows))


def write_svhn(folder: Path) -> None:
    folder.mkdir(parents=True)
    for part, count in COUNTS.items():
        images = np.random.RandomState(count).randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)
        labels = np.arange(count) % 10
        labels[labels == 0] = 10
        content = {"X": images.transpose(1, 2, 3, 0), "y": labels.astype(np.uint8)[:, None]}
        savemat(folder / f"{part}_32x32.mat", content, do_compression=True)


def write_usps(folder: Path, packed: bool = True) -> None:
    folder.mkdir(parents=True)
    for name, count in (("usps", COUNTS["train"]), ("usps.t", COUNTS["test"])):
        values = grey(16, count).reshape(count, -1) / 255 * 2 - 1
        lines = [f"{i + 1} " + " ".join(f"{j + 1}:{v:.6f}" for j, v in enumerate(row)) for i, row in enumerate(values)]
        content = "\n".join(lines).encode() + b"\n"
        (folder / (name + ".bz2" * packed)).write_bytes(bz2.compress(content) if packed else content)


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Digits:
    monkeypatch.setattr(Digits, "metadata", Digits.metadata.model_copy(update={"counts": (10,) * 4}))
    return Digits(tmp_path)


def check(domain: Domain) -> None:
    assert domain.image(0).size == (32, 32)
    assert domain.labels.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert {name: keys.tolist() for name, keys in domain.parts.items()} == {
        "train": list(range(6)),
        "test": list(range(6, 10)),
    }


def test_published_counts() -> None:
    assert Digits.metadata.counts == (60000 + 10000, 59001 + 9001, 73257 + 26032, 7291 + 2007)
    assert Digits.metadata.domains == ("MNIST", "MNIST-M", "SVHN", "USPS")


@pytest.mark.parametrize("folder", ["Digits/MNIST", "Digits/MNIST/raw", "MNIST/raw", "MNIST/MNIST/raw"])
@pytest.mark.parametrize(("packed", "dotted"), [(False, False), (True, False), (False, True)])
def test_mnist(digits: Digits, folder: str, packed: bool, dotted: bool) -> None:
    write_mnist(digits.root() / folder, packed, dotted)
    domain = digits.domain(0)
    check(domain)
    red, green, blue = np.moveaxis(np.asarray(domain.image(7)), -1, 0)
    assert (red == green).all()
    assert (green == blue).all()
    expected = Image.fromarray(grey(28, 4)[1]).resize((32, 32), Image.Resampling.BILINEAR)
    assert (red == np.asarray(expected)).all()


def test_mnistm_keeps_the_lists_order(digits: Digits) -> None:
    write_mnistm(digits.root() / "Digits" / "MNIST-M")
    domain = digits.domain(1)
    assert domain.labels.tolist() == [5, 4, 3, 2, 1, 0, 3, 2, 1, 0]
    assert [domain.image(i).getpixel((3, 3)) for i in (0, 6)] == [(5, 5, 5), (3, 3, 3)]


def test_svhn_label_10_is_0(digits: Digits) -> None:
    write_svhn(digits.root() / "Digits" / "SVHN")
    check(digits.domain(2))
    expected = np.random.RandomState(4).randint(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    assert (np.asarray(digits.domain(2).image(8)) == expected[2]).all()


@pytest.mark.parametrize("packed", [True, False])
def test_usps_text(digits: Digits, packed: bool) -> None:
    write_usps(digits.root() / "Digits" / "USPS", packed)
    check(digits.domain(3))
    images, labels = formats.read_usps_text(digits.root() / "Digits" / "USPS" / ("usps" + ".bz2" * packed))
    assert (images == grey(16, 6)).all()
    assert labels.tolist() == list(range(6))


def test_usps_h5(digits: Digits) -> None:
    h5py = pytest.importorskip("h5py")
    folder = digits.root() / "Digits" / "USPS"
    folder.mkdir(parents=True)
    with h5py.File(folder / "usps.h5", "w") as file:
        for part, count in COUNTS.items():
            file[f"{part}/data"] = (grey(16, count).reshape(count, -1) / 255).astype(np.float32)
            file[f"{part}/target"] = np.arange(count)
    check(digits.domain(3))
    assert (formats.read_usps_h5(folder / "usps.h5")["test"][0] == grey(16, 4)).all()


def test_usps_h5_without_h5py_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dfdgbench\[data\]'"):
        formats.read_usps_h5(tmp_path / "usps.h5")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cut", [1, 100, 4700])
def test_truncated_idx_is_named(digits: Digits, packed: bool, cut: int) -> None:
    write_mnist(digits.root() / "Digits" / "MNIST", packed)
    path = next((digits.root() / "Digits" / "MNIST").glob("train-images*"))
    path.write_bytes(path.read_bytes()[: -min(cut, path.stat().st_size - 1)])
    with pytest.raises(DataError, match=path.name):
        digits.domain(0)


def test_idx_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    for content in (b"", b"<html>", b"\0\0\x0d\x01" + bytes(8), b"\0\0\x08\x03\0\0"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=path.name):
            formats.read_idx(path)
    path.write_bytes(idx(grey(4, 2)) + b"\0")
    with pytest.raises(DataError, match="too long"):
        formats.read_idx(path)


@pytest.mark.parametrize("keep", [0, 100, 0.5, -1])
def test_truncated_mat_is_named(digits: Digits, keep: float) -> None:
    write_svhn(digits.root() / "Digits" / "SVHN")
    path = digits.root() / "Digits" / "SVHN" / "train_32x32.mat"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(DataError, match=r"train_32x32.mat cannot be read"):
        digits.domain(2)


def test_mat_of_another_kind(tmp_path: Path) -> None:
    savemat(tmp_path / "train_32x32.mat", {"X": np.zeros((32, 32, 5), np.uint8), "y": np.zeros((5, 1))})
    with pytest.raises(DataError, match="format 2"):
        formats.read_svhn(tmp_path / "train_32x32.mat")


def test_bad_usps_text_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "usps").write_text("1 1:0.5 2:0.1\n2 1:0.5 x\n")
    with pytest.raises(DataError, match="line 2"):
        formats.read_usps_text(tmp_path / "usps")
    (tmp_path / "usps").write_text("12 1:0.5\n")
    with pytest.raises(DataError, match="does not hold USPS digits"):
        formats.read_usps_text(tmp_path / "usps")
    (tmp_path / "usps.bz2").write_bytes(bz2.compress(b"1 1:0.5\n")[:-4])
    with pytest.raises(DataError, match=r"usps.bz2"):
        formats.read_usps_text(tmp_path / "usps.bz2")


def test_listed_image_that_is_missing_is_named(digits: Digits) -> None:
    write_mnistm(digits.root() / "Digits" / "MNIST-M")
    (digits.root() / "Digits" / "MNIST-M" / "mnist_m_test" / "00000002.png").unlink()
    with pytest.raises(DataError, match=r"00000002.png of mnist_m_test_labels.txt"):
        digits.domain(1)


def test_labels_and_images_must_be_as_many(digits: Digits) -> None:
    folder = digits.root() / "Digits" / "MNIST"
    write_mnist(folder)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, np.uint8)))
    with pytest.raises(DataError, match="test part of MNIST holds 4 images and 5 labels"):
        digits.domain(0)


@pytest.mark.parametrize("index", range(4))
def test_absent_files_list_the_places_looked_at(digits: Digits, index: int) -> None:
    name = ("MNIST's file", "MNIST-M's list", "SVHN's file", "USPS")[index]
    with pytest.raises(formats.MissingDataError, match=f"{name}.*Looked for: Digits/"):
        digits.domain(index)
