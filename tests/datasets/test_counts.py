"""Counting the images of small-image data sets by headers: whatever shows in one is told, and no more than that is read."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from trees_digits import (
    FEW,
    digits,
    grey,
    idx,
    write_built_mnistm,
    write_cifar,
    write_mnist,
    write_mnist_tree,
    write_mnistm,
    write_svhn,
    write_usps,
    write_usps_zip,
)

from dfdgbench.datasets.cifar10 import CIFAR10
from dfdgbench.datasets.disk import counts, formats, mnistm
from dfdgbench.datasets.disk.corpora import count_mnist, count_mnistm, count_svhn, count_usps
from dfdgbench.datasets.mnist_family import ColoredMNIST, RotatedMNIST
from dfdgbench.errors import DataError, MissingDataError


def shortened(path: Path, by: int = 1) -> None:
    """Cut off the end of a file."""
    path.write_bytes(path.read_bytes()[:-by])


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is read in full, and no image is opened."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("read")

    for name in ("read_idx", "read_svhn", "read_cifar", "read_usps_h5", "read_usps_text", "read_usps_zip"):
        monkeypatch.setattr(formats, name, refuse)
    for module, name in ((Image, "open"), (np, "load")):
        monkeypatch.setattr(module, name, refuse)


# MNIST ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files(tmp_path: Path, packed: bool, refusing: None) -> None:
    write_mnist(tmp_path / "MNIST/raw", packed)
    assert count_mnist(tmp_path) == 10


def test_of_a_packed_idx_file_the_header_alone_is_unpacked(tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST/raw", packed=True, counts={"train": 600, "test": 4})
    path = tmp_path / "MNIST/raw/train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    assert count_mnist(tmp_path) == 604
    with pytest.raises(DataError, match=path.name):
        formats.read_idx(path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cut", [1, 100, 4700])
def test_a_cut_idx_file_is_named(tmp_path: Path, packed: bool, cut: int) -> None:
    write_mnist(tmp_path / "MNIST/raw", packed)
    path = next((tmp_path / "MNIST/raw").glob("train-images*"))
    shortened(path, min(cut, path.stat().st_size - 1))
    with pytest.raises(DataError, match=path.name):
        count_mnist(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_that_is_too_long_is_named(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("train-labels-idx1-ubyte" + ".gz" * packed)
    content = idx(digits(7)) + b"\0"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=f"{path.name} is too long: it holds 16 bytes, its header says 15"):
        counts.idx_shape(path)


def test_an_idx_file_packed_in_two_pieces_is_whole(tmp_path: Path) -> None:
    path, content = tmp_path / "a.gz", idx(grey(28, 6))
    path.write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]))
    assert list(counts.idx_shape(path)) == [6, 28, 28]


@pytest.mark.parametrize("content", [b"", b"<html>", b"\0\0\x0d\x01" + bytes(8), b"\0\0\x08\x03\0\0"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_what_is_no_idx_file_is_named(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"train{suffix}").write_bytes(content)
    with pytest.raises(DataError, match=f"train{suffix}"):
        counts.idx_shape(tmp_path / f"train{suffix}")


def test_idx_files_of_another_shape_or_with_too_few_labels(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST/raw"
    write_mnist(folder)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(digits(3)))
    with pytest.raises(DataError, match="test part of MNIST holds 4 images and 3 labels"):
        count_mnist(tmp_path)
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(grey(20, 3)))
    with pytest.raises(DataError, match=r"t10k files .* hold images \[3, 20, 20\]"):
        count_mnist(tmp_path)


def test_a_tree_of_images(tmp_path: Path, refusing: None) -> None:
    write_mnist_tree(tmp_path / "MNIST", first=7)
    (tmp_path / "MNIST/train/3/notes.txt").touch()
    (tmp_path / "MNIST/train/3/.hidden.png").touch()
    assert count_mnist(tmp_path) == 10
    (tmp_path / "MNIST/train/3/10.png").unlink()
    assert count_mnist(tmp_path) == 9
    (tmp_path / "MNIST/train/9").rmdir()
    with pytest.raises(DataError, match="missing: 9"):
        count_mnist(tmp_path)


@pytest.mark.parametrize("dataset", [ColoredMNIST, RotatedMNIST])
def test_mnist_is_counted_once_and_refused_whole(
    dataset: type[ColoredMNIST | RotatedMNIST], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domains = len(dataset.metadata.domains)
    write_mnist(tmp_path / "MNIST/raw", counts={"train": 40, "test": 10})
    for index in range(domains):
        with pytest.raises(DataError, match="has 50 images, 70000 are expected"):
            dataset(tmp_path).listed(index)
    dealt = tuple(50 // domains + (index < 50 % domains) for index in range(domains))
    monkeypatch.setattr(dataset, "metadata", dataset.metadata.model_copy(update={"counts": dealt}))
    there = dataset(tmp_path)
    found = [there.listed(0)]
    (tmp_path / "MNIST").rename(tmp_path / "away")
    found += [there.listed(index) for index in range(1, domains)]
    assert tuple(found) == dealt


# MNIST-M --------------------------------------------------------------------------------------------------------------


def test_mnistm_by_its_lists(tmp_path: Path, refusing: None) -> None:
    folder = tmp_path / "Digits/MNIST-M"
    write_mnistm(folder)
    assert count_mnistm(tmp_path) == 10
    (folder / "mnist_m_test/00000002.png").rename(folder / "mnist_m_test/2.png")
    with pytest.raises(DataError, match=r"00000002\.png, named in mnist_m_test_labels\.txt, does not exist"):
        count_mnistm(tmp_path)
    (folder / "mnist_m_test_labels.txt").write_text("00000001.png\n")
    with pytest.raises(DataError, match=r"mnist_m_test_labels\.txt is not a list of 'file label' lines"):
        count_mnistm(tmp_path)
    (folder / "mnist_m_test_labels.txt").unlink()
    with pytest.raises(MissingDataError, match=r"list mnist_m_test_labels\.txt was not found"):
        count_mnistm(tmp_path)


def test_mnistm_whose_images_lie_deeper(tmp_path: Path) -> None:
    folder = tmp_path / "Digits/MNIST-M"
    write_mnistm(folder)
    (folder / "mnist_m_test").rename(folder / "inner")
    (folder / "mnist_m_test").mkdir()
    (folder / "inner").rename(folder / "mnist_m_test/inner")
    rows = (folder / "mnist_m_test_labels.txt").read_text().splitlines()
    (folder / "mnist_m_test_labels.txt").write_text("\n".join(f"inner/{row}" for row in rows))
    assert count_mnistm(tmp_path) == 10


def test_lists_without_their_images_are_wrong_and_not_missing(tmp_path: Path) -> None:
    write_mnistm(tmp_path / "Digits/MNIST-M")
    (tmp_path / "Digits/MNIST-M/mnist_m_train").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="does not exist") as raised:
        count_mnistm(tmp_path)
    assert not isinstance(raised.value, MissingDataError)


def test_built_mnistm_by_its_arrays_headers(tmp_path: Path, refusing: None) -> None:
    write_built_mnistm(tmp_path)
    assert mnistm.count_built_mnistm(tmp_path) == 10
    with pytest.raises(MissingDataError, match="made of MNIST and photos was not found"):
        mnistm.count_built_mnistm(tmp_path / "nowhere")


@pytest.mark.filterwarnings("ignore:Stored array in format 2.0")
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "shape", "type", "labels", "version", "other"])
def test_a_damaged_built_mnistm_is_named(tmp_path: Path, damage: str) -> None:
    write_built_mnistm(tmp_path)
    path = tmp_path / mnistm.BUILT
    made = {"cut": path.read_bytes()[:-30], "empty": b"", "text": b"<html>"}
    arrays: dict[str, Any] = {f"{part}_images": np.zeros((2, 28, 28, 3), np.uint8) for part in FEW}
    arrays |= {f"{part}_labels": np.zeros(2, np.int64) for part in FEW}
    wide = np.zeros(2, np.dtype([("x" * 70000, np.uint8)]))  # whose header is too long for the format's first version
    change: dict[str, dict[str, Any]] = {
        "shape": {"test_images": np.zeros((2, 28, 28), np.uint8)},
        "type": {"test_images": np.zeros((2, 28, 28, 3))},
        "labels": {"test_labels": np.zeros(3, np.int64)},
        "version": {"test_labels": wide},
    }
    if damage in made:
        path.write_bytes(made[damage])
    elif damage == "other":
        np.savez(path, images=np.zeros(3))
    else:
        np.savez(path, **(arrays | change[damage]))
    with pytest.raises(DataError, match=r"mnist_m_built_1\.npz is damaged.*Remove it"):
        mnistm.count_built_mnistm(tmp_path)


# SVHN -----------------------------------------------------------------------------------------------------------------


def test_svhn_by_its_arrays_headers(tmp_path: Path, refusing: None) -> None:
    write_svhn(tmp_path / "Digits/SVHN")
    assert count_svhn(tmp_path) == 10
    (tmp_path / "Digits/SVHN/test_32x32.mat").unlink()
    with pytest.raises(MissingDataError, match=r"SVHN's file test_32x32\.mat was not found"):
        count_svhn(tmp_path)


@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_a_cut_mat_file_is_named(tmp_path: Path, keep: float) -> None:
    write_svhn(tmp_path / "Digits/SVHN")
    path = tmp_path / "Digits/SVHN/train_32x32.mat"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(DataError, match=r"train_32x32.mat cannot be read"):
        count_svhn(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"X": np.zeros((32, 32, 5), np.uint8), "y": np.zeros((5, 1))},
        {"X": np.zeros((32, 32, 3, 5)), "y": np.zeros((5, 1))},
        {"X": np.zeros((32, 32, 3, 5), np.uint8), "y": np.zeros((4, 1))},
    ],
)
def test_a_mat_file_of_another_kind_is_named(tmp_path: Path, content: dict[str, Any]) -> None:
    savemat(tmp_path / "train_32x32.mat", content)
    for look in (counts.svhn, formats.read_svhn):
        with pytest.raises(DataError, match=r"train_32x32\.mat holds X .*format 2"):
            look(tmp_path / "train_32x32.mat")


# USPS -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("write", [write_usps, write_usps_zip])
def test_usps_by_its_lines(tmp_path: Path, write: Callable[[Path, bool], None], packed: bool, refusing: None) -> None:
    write(tmp_path / "USPS", packed)
    assert count_usps(tmp_path) == 10


def test_lines_of_a_file_that_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "usps", []
    real = formats.read_bytes
    monkeypatch.setattr(formats, "read_bytes", lambda path: read.append(path) or real(path))
    for text, expected in (("1 1:0\n2 1:0\n", 2), ("1 1:0\n2 1:0\n3 1:0", 3), ("", 0)):
        path.write_text(text)
        assert [counts.lines(path), counts.lines(path)] == [expected, expected]
    assert len(read) == 3
    path.write_text("abc\nde")
    before = counts.lines(path)
    path.write_text("a\nc\nde")
    os.utime(path, ns=(0, 0))
    assert (before, counts.lines(path)) == (2, 3)


def test_a_cut_bz2_file_is_named(tmp_path: Path) -> None:
    write_usps(tmp_path / "USPS")
    shortened(tmp_path / "USPS/usps.bz2", 4)
    with pytest.raises(DataError, match=r"usps\.bz2 cannot be read"):
        count_usps(tmp_path)


def write_h5(path: Path, data: tuple[int, ...] = (6, 256), target: tuple[int, ...] = (6,)) -> None:
    """``usps.h5``, its train part of these shapes."""
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["train/data"], file["train/target"] = np.zeros(data, np.float32), np.zeros(target, np.int64)
        file["test/data"], file["test/target"] = np.zeros((4, 256), np.float32), np.zeros(4, np.int64)


def test_usps_h5_by_its_shapes(tmp_path: Path, refusing: None) -> None:
    write_h5(tmp_path / "USPS/usps.h5")
    assert count_usps(tmp_path) == 10


@pytest.mark.parametrize(
    ("data", "target"), [((6, 255), (6,)), ((6, 16, 16), (6,)), ((6, 256), (5,)), ((0, 256), (0,))]
)
def test_usps_h5_of_other_shapes_is_named(tmp_path: Path, data: tuple[int, ...], target: tuple[int, ...]) -> None:
    path = tmp_path / "USPS/usps.h5"
    write_h5(path, data, target)
    for look in (counts.usps_h5, formats.read_usps_h5):
        with pytest.raises(DataError, match=r"usps\.h5 does not hold USPS digits"):
            look(path)


def test_a_cut_h5_file_is_named(tmp_path: Path) -> None:
    write_h5(tmp_path / "USPS/usps.h5")
    shortened(tmp_path / "USPS/usps.h5", 1000)
    with pytest.raises(DataError, match=r"usps\.h5 cannot be read as USPS's HDF5 file"):
        count_usps(tmp_path)


# CIFAR-10 -------------------------------------------------------------------------------------------------------------


def test_cifar_by_the_sizes_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusing: None) -> None:
    monkeypatch.setattr(CIFAR10, "metadata", CIFAR10.metadata.model_copy(update={"counts": (60,)}))
    write_cifar(tmp_path / "CIFAR10", rows=10)
    assert CIFAR10(tmp_path).listed(0) == 60
    shortened(tmp_path / "CIFAR10/data_batch_3.bin")
    with pytest.raises(DataError, match=r"data_batch_3\.bin holds 30729 bytes; 10 images of 3073 bytes are 30730"):
        CIFAR10(tmp_path).listed(0)
    (tmp_path / "CIFAR10/test_batch.bin").unlink()
    (tmp_path / "CIFAR10/data_batch_3.bin").unlink()
    with pytest.raises(MissingDataError, match=r"data_batch_3\.bin .* was not found"):
        CIFAR10(tmp_path).listed(0)
