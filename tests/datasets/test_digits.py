"""Digits in every format it is published in, on small files written here."""

from __future__ import annotations

import bz2
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from trees_digits import (
    FEW,
    grey,
    idx,
    write_mnist,
    write_mnist_tree,
    write_mnistm,
    write_svhn,
    write_usps,
    write_usps_zip,
)

from dfdgbench.datasets.base import Domain
from dfdgbench.datasets.digits import Digits
from dfdgbench.datasets.disk import corpora, formats
from dfdgbench.errors import DataError, MissingDataError, MissingExtraError


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


@pytest.mark.parametrize("folder", ["Digits/MNIST", "MNIST"])
@pytest.mark.parametrize("long_names", [False, True])
def test_mnist_as_a_tree_of_images(digits: Digits, folder: str, long_names: bool) -> None:
    root = digits.root() / folder
    write_mnist_tree(root, first=7)  # 7, 8, 9, 10, ...: an order that names do not have
    if long_names:
        (root / "train").rename(root / "training")
        (root / "test").rename(root / "testing")
    check(digits.domain(0))
    (train, _), (test, _) = corpora.read_mnist(digits.root())
    assert (train == grey(28, 6)).all()
    assert (test == grey(28, 4)).all()


def test_idx_files_go_before_a_tree(digits: Digits) -> None:
    write_mnist(digits.root() / "MNIST" / "raw")
    write_mnist_tree(digits.root() / "MNIST", {"train": 1, "test": 1})
    check(digits.domain(0))


def _tree(digits: Digits) -> Path:
    write_mnist_tree(digits.root() / "MNIST")
    return digits.root() / "MNIST" / "train"


def test_tree_with_an_image_missing_names_its_number(digits: Digits) -> None:
    (_tree(digits) / "2" / "2.png").unlink()
    with pytest.raises(DataError, match="holds 5 images, and none of them is number 2"):
        digits.domain(0)


def test_tree_with_a_digit_missing_names_it(digits: Digits) -> None:
    (_tree(digits) / "9").rmdir()
    with pytest.raises(DataError, match="missing: 9"):
        digits.domain(0)


@pytest.mark.parametrize(
    ("name", "message"), [("first.png", "has no number for a name"), ("02.png", "is numbered as another is")]
)
def test_tree_with_a_stranger_names_it(digits: Digits, name: str, message: str) -> None:
    folder = _tree(digits) / "3"
    (folder / name).write_bytes((folder / "3.png").read_bytes())
    with pytest.raises(DataError, match=f"{name} {message}"):
        digits.domain(0)


def test_tree_with_another_size_names_the_image(digits: Digits) -> None:
    Image.fromarray(grey(30, 1)[0]).save(_tree(digits) / "3" / "3.png")
    with pytest.raises(DataError, match=r"3\.png is \(30, 30\); all are 28 x 28"):
        digits.domain(0)


def test_tree_with_a_damaged_image_names_it(digits: Digits) -> None:
    path = _tree(digits) / "3" / "3.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"3\.png cannot be decoded"):
        digits.domain(0)


def test_mnist_of_another_shape(digits: Digits) -> None:
    folder = digits.root() / "Digits" / "MNIST"
    write_mnist(folder)
    (folder / "train-images-idx3-ubyte").write_bytes(idx(grey(20, 6)))
    with pytest.raises(DataError, match=r"train files .* hold images \[6, 20, 20\]"):
        digits.domain(0)


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


@pytest.mark.parametrize("packed", [True, False])
def test_usps_zip(digits: Digits, packed: bool) -> None:
    write_usps_zip(digits.root() / "Digits" / "USPS", packed)
    check(digits.domain(3))
    (images, labels), _ = corpora.read_usps(digits.root())
    assert (images == grey(16, 6)).all()
    assert labels.tolist() == list(range(6))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("1.0 " + "0 " * 256 + "\n2.0 0.5\n", "2 numbers in line 2"),
        ("1.0 " + "0 " * 255 + "x\n", "no number"),
        ("1.0 " + "0 " * 255 + "7\n", "does not hold USPS digits"),
        ("11 " + "0 " * 256 + "\n", "does not hold USPS digits"),
        ("version https://git-lfs.github.com/spec/v1\n", "2 numbers in line 1"),
    ],
)
def test_bad_usps_zip_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "zip.train").write_text(content)
    with pytest.raises(DataError, match=rf"zip\.train.*{message}"):
        formats.read_usps_zip(tmp_path / "zip.train")


def test_usps_test_part_is_looked_for_in_the_same_format(digits: Digits) -> None:
    folder = digits.root() / "Digits" / "USPS"
    write_usps(folder)
    (folder / "usps.t.bz2").unlink()
    (folder / "zip.test").touch()
    with pytest.raises(MissingDataError, match=r"USPS's file usps\.t was not found.*usps/usps\.t\.$"):
        digits.domain(3)


def test_usps_h5(digits: Digits) -> None:
    h5py = pytest.importorskip("h5py")
    folder = digits.root() / "Digits" / "USPS"
    folder.mkdir(parents=True)
    with h5py.File(folder / "usps.h5", "w") as file:
        for part, count in FEW.items():
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
    with pytest.raises(DataError, match=r"00000002.png, named in mnist_m_test_labels.txt, does not exist"):
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
    with pytest.raises(MissingDataError, match=f"{name}.*Looked for: Digits/"):
        digits.domain(index)


def test_mnistm_is_taken_out_of_the_folder_around_it(tmp_path: Path) -> None:
    write_mnistm(tmp_path / "Digits" / "MNIST-M" / "mnist_m")
    Digits.prepare(tmp_path)
    (train, labels), _ = corpora.read_mnistm(tmp_path)
    assert train[:, 0, 0, 0].tolist() == labels.tolist() == [5, 4, 3, 2, 1, 0]
    assert not (tmp_path / "Digits" / "MNIST-M" / "mnist_m").exists()


def test_strays_are_what_no_corpus_is_read_from(tmp_path: Path) -> None:
    for name in ("MNIST", "MNIST-M", "mnist_m", "usps", "BSDS500", "MNIST-old"):
        (tmp_path / "Digits" / name).mkdir(parents=True)
    assert Digits.strays(tmp_path) == ["MNIST-old", "usps"]  # which is looked for in the data folder itself
