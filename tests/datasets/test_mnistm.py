"""MNIST-M made by its recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees_digits import FEW, digits, grey, write_mnist, write_mnistm, write_photos

from dfdgbench.datasets.check.status import status
from dfdgbench.datasets.digits import Digits, DigitsBuilt
from dfdgbench.datasets.disk import mnistm
from dfdgbench.errors import DataError, MissingDataError

PHOTOS = 5


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MNIST in small, and photos."""
    write_mnist(tmp_path / "Digits" / "MNIST")
    write_photos(tmp_path / "BSDS500" / "data" / "images" / "train", PHOTOS)
    monkeypatch.setattr(mnistm, "COUNTS", FEW)
    monkeypatch.setattr(mnistm, "PHOTOS", PHOTOS)
    monkeypatch.setattr(DigitsBuilt, "metadata", DigitsBuilt.metadata.model_copy(update={"counts": (10,) * 4}))
    return tmp_path


def test_every_image_is_a_patch_minus_the_digit(data_dir: Path) -> None:
    path = mnistm.build_mnistm(data_dir)
    assert path == data_dir / "Digits/MNIST-M/mnist_m_built_1.npz"
    photos = mnistm.read_photos(data_dir)
    for (images, labels), count in zip(mnistm.read_built_mnistm(data_dir), FEW.values(), strict=True):
        assert (images.shape, images.dtype) == ((count, 28, 28, 3), np.uint8)
        assert labels.tolist() == digits(count).tolist()
        for image, digit in zip(images, grey(28, count), strict=True):
            assert _is_blended(image, digit, photos)


def _is_blended(image: np.ndarray, digit: np.ndarray, photos: list[np.ndarray]) -> bool:
    """Whether some patch p of some photo has |p - digit| = image, in a search independent of how patches are drawn."""
    wide = digit.astype(np.int64)[..., None]
    for photo in photos:
        windows = np.lib.stride_tricks.sliding_window_view(photo, (28, 28), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
        if (np.abs(windows.astype(np.int64) - wide) == image).all(axis=(2, 3, 4)).any():
            return True
    return False


def test_digits_lie_on_different_patches_that_reach_every_edge() -> None:
    photo = np.arange(30 * 29, dtype=np.int64).reshape(30, 29, 1).repeat(3, axis=2)
    photos = [((photo + start) % 251).astype(np.uint8) for start in (0, 100)]
    made = mnistm.blended(np.zeros((200, 28, 28), np.uint8), photos, np.random.RandomState(0))
    corners = {int(image[0, 0, 0]) for image in made}
    assert corners == {
        (29 * row + column + start) % 251 for row in range(3) for column in range(2) for start in (0, 100)
    }


def test_same_data_same_bytes(data_dir: Path) -> None:
    first = mnistm.build_mnistm(data_dir).read_bytes()
    state = np.random.get_state()[1].tolist()
    assert mnistm.build_mnistm(data_dir).read_bytes() == first
    assert np.random.get_state()[1].tolist() == state


def test_built_once_and_read_as_its_own_dataset(data_dir: Path) -> None:
    (said,) = DigitsBuilt.build(data_dir)
    assert "--dataset DigitsBuilt" in said
    assert DigitsBuilt.build(data_dir) == []
    domain = DigitsBuilt(data_dir).domain(1)
    assert domain.name == "MNIST-M"
    assert domain.labels.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert {name: len(keys) for name, keys in domain.parts.items()} == dict(FEW)
    (train, _), _ = mnistm.read_built_mnistm(data_dir)
    expected = Image.fromarray(train[3]).resize((32, 32), Image.Resampling.BILINEAR)
    assert (np.asarray(domain.image(3)) == np.asarray(expected)).all()
    assert [row.state for row in status("DigitsBuilt", data_dir).domains] == ["ok", "ok", "missing", "missing"]


def test_the_archives_dataset_does_not_take_it(data_dir: Path) -> None:
    DigitsBuilt.build(data_dir)
    with pytest.raises(MissingDataError, match=r"mnist_m_train_labels.*--dataset DigitsBuilt"):
        Digits(data_dir).domain(1)
    assert status("Digits", data_dir).domains[1].state == "missing"


def test_nor_does_it_take_the_archive(data_dir: Path) -> None:
    write_mnistm(data_dir / "Digits" / "MNIST-M")
    with pytest.raises(MissingDataError, match="dfdgbench data download DigitsBuilt"):
        DigitsBuilt(data_dir).domain(1)


def test_counts_of_archive_and_recipe() -> None:
    assert (Digits.metadata.counts, DigitsBuilt.metadata.counts) == (
        (70000, 68002, 99289, 9298),
        (70000, 70000, 99289, 9298),
    )
    assert Digits.metadata.domains == DigitsBuilt.metadata.domains
    files = [{source.file for source in dataset.metadata.sources} for dataset in (Digits, DigitsBuilt)]
    assert files[0] ^ files[1] == {"mnist_m.tar.gz", "BSR_bsds500.tgz"}


def test_without_photos_or_digits_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnistm, "PHOTOS", PHOTOS)
    with pytest.raises(MissingDataError, match=r"BSDS500's photos were not found.*Looked for: Digits/BSDS500"):
        mnistm.build_mnistm(tmp_path)
    write_photos(tmp_path / "BSR" / "BSDS500" / "data" / "images" / "train", PHOTOS)
    with pytest.raises(MissingDataError, match="MNIST's file"):
        mnistm.build_mnistm(tmp_path)


def test_what_is_incomplete_is_not_built_from(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnistm, "PHOTOS", PHOTOS + 1)
    with pytest.raises(DataError, match="holds 5 photos, 6 are expected"):
        mnistm.build_mnistm(data_dir)
    monkeypatch.setattr(mnistm, "PHOTOS", PHOTOS)
    monkeypatch.setattr(mnistm, "COUNTS", {"train": 6, "test": 5})
    with pytest.raises(DataError, match=r"test part below .* has 4 images, 5 are expected"):
        mnistm.build_mnistm(data_dir)
    assert not (data_dir / mnistm.BUILT).exists()


def test_a_photo_smaller_than_a_digit_is_named(data_dir: Path) -> None:
    photo = data_dir / "BSDS500/data/images/train/1000.jpg"
    Image.new("RGB", (40, 27)).save(photo)
    with pytest.raises(DataError, match=r"1000\.jpg is smaller than a digit"):
        mnistm.build_mnistm(data_dir)


def test_a_killed_build_leaves_nothing_that_is_taken_for_whole(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        mnistm.build_mnistm(data_dir)
    monkeypatch.undo()
    assert list((data_dir / "Digits" / "MNIST-M").iterdir()) == []
    with pytest.raises(MissingDataError):
        mnistm.read_built_mnistm(data_dir)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text", "shape"])
def test_a_damaged_file_is_named(data_dir: Path, damage: str) -> None:
    path = mnistm.build_mnistm(data_dir)
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    made = {"cut": path.read_bytes()[:-30], "flip": bytes(content), "empty": b"", "text": b"<html>"}
    if damage == "shape":
        np.savez(path, **{f"{part}_{kind}": np.zeros(3) for part in FEW for kind in ("images", "labels")})
    else:
        path.write_bytes(made[damage])
    with pytest.raises(DataError, match=r"mnist_m_built_1\.npz is damaged.*Remove it"):
        DigitsBuilt(data_dir).domain(1)


def test_of_the_photos_archive_only_photos_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked = tmp_path / "Digits" / "BSDS500" / "BSR"
    write_photos(unpacked / "BSDS500" / "data" / "images" / "train", PHOTOS)
    (unpacked / "bench").mkdir()
    DigitsBuilt.prepare(tmp_path)
    monkeypatch.setattr(mnistm, "PHOTOS", PHOTOS)
    assert len(mnistm.read_photos(tmp_path)) == PHOTOS
    folders = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_dir()}
    assert folders == {
        "Digits", "Digits/BSDS500", "Digits/BSDS500/data", "Digits/BSDS500/data/images", "Digits/BSDS500/data/images/train",
    }  # fmt: skip
