"""Folder domains and PACS: what is read, and what is said when a tree is not as it should be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfdgbench.datasets.domains import FolderDomain, folder_domain
from dfdgbench.datasets.pacs import PACS
from dfdgbench.datasets.protocols import SplitOptions, get_protocol
from dfdgbench.errors import DataError

Make = Callable[..., PACS]


def test_files_are_sorted_within_sorted_classes(small_pacs: Make) -> None:
    domain = small_pacs().domain(0)
    assert isinstance(domain, FolderDomain)
    assert domain.files[:3] == ["dog/pic_000.jpg", "dog/pic_001.jpg", "elephant/pic_000.jpg"]
    assert domain.labels.tolist() == [label for label in range(7) for _ in range(2)]
    assert domain.image(0).mode == "RGB"
    assert domain.parts == {}


def test_grey_and_palette_images_become_rgb(tmp_path: Path) -> None:
    (tmp_path / "d" / "x").mkdir(parents=True)
    Image.new("L", (4, 4), 7).save(tmp_path / "d" / "x" / "a.png")
    Image.new("P", (4, 4), 0).save(tmp_path / "d" / "x" / "b.png")
    domain = folder_domain("d", tmp_path / "d", ["x"])
    assert [domain.image(i).mode for i in range(2)] == ["RGB", "RGB"]
    assert domain.image(0).getpixel((0, 0)) == (7, 7, 7)


def test_no_data_folder_says_which_flag(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data-dir DIR"):
        PACS().domain(0)
    with pytest.raises(DataError, match="does not exist"):
        PACS(tmp_path / "nowhere").domain(0)


def test_missing_domain_is_named(small_pacs: Make) -> None:
    dataset = small_pacs()
    shutil.rmtree(dataset.root() / "PACS" / "photo")
    assert len(dataset.domain(3)) == 14
    with pytest.raises(DataError, match="domain 'photo' does not exist"):
        dataset.domain(2)


def test_stray_and_missing_class_folders_are_named(small_pacs: Make) -> None:
    dataset = small_pacs()
    root = dataset.root() / "PACS" / "cartoon"
    (root / "dog").rename(root / "dogs")
    with pytest.raises(DataError, match=r"missing: dog; not a class: dogs"):
        dataset.domain(1)


def test_a_stray_domain_folder_shifts_nothing(small_pacs: Make) -> None:
    dataset = small_pacs()
    (dataset.root() / "PACS" / "aaa").mkdir()
    assert dataset.domain(0).name == "art_painting"


def test_wrong_count_and_empty_tree(small_pacs: Make) -> None:
    dataset = small_pacs()
    (dataset.root() / "PACS" / "sketch" / "dog" / "pic_000.jpg").unlink()
    with pytest.raises(DataError, match="'sketch' has 13 images, 14 are expected"):
        dataset.domain(3)
    for file in (dataset.root() / "PACS" / "sketch").rglob("*.jpg"):
        file.unlink()
    with pytest.raises(DataError, match="holds no image"):
        dataset.domain(3)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_image_is_named(small_pacs: Make, suffix: str) -> None:
    domain = small_pacs(suffix).domain(0)
    assert isinstance(domain, FolderDomain)
    path = domain.root / domain.files[5]
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match=f"{path.parent.name}/{path.name} cannot be decoded"):
        domain.image(5)
    domain.image(4)


def test_vanished_image_is_named(small_pacs: Make) -> None:
    domain = small_pacs().domain(0)
    assert isinstance(domain, FolderDomain)
    (domain.root / domain.files[0]).unlink()
    with pytest.raises(DataError, match=r"pic_000.jpg is gone"):
        domain.image(0)


def test_fingerprint_sees_names_sizes_and_cuts(small_pacs: Make) -> None:
    dataset = small_pacs()
    before = dataset.domain(0).fingerprint()
    assert before == PACS(dataset.data_dir).domain(0).fingerprint()
    path = dataset.root() / "PACS" / "art_painting" / "dog" / "pic_000.jpg"
    path.write_bytes(path.read_bytes()[:-1])
    assert PACS(dataset.data_dir).domain(0).fingerprint() != before


def write_lists(dataset: PACS, folder: str = "", **lists: list[int]) -> None:
    """Official lists of art_painting with the images of these indices, labels from 1."""
    domain = PACS(dataset.data_dir).domain(0)
    assert isinstance(domain, FolderDomain)
    target = dataset.root() / "PACS" / folder
    target.mkdir(exist_ok=True)
    for name, keys in lists.items():
        lines = [f"art_painting/{domain.files[key]} {domain.labels[key] + 1}\n" for key in keys]
        (target / f"art_painting_{name}_kfold.txt").write_text("".join(lines))


@pytest.mark.parametrize("folder", ["", "splits"])
def test_official_lists_become_parts(small_pacs: Make, folder: str) -> None:
    dataset = small_pacs()
    train, val = [13, 0, 2, 5], [1, 3]
    write_lists(dataset, folder, train=train, crossval=val)
    domain = dataset.domain(0)
    splits = get_protocol("official").split(domain, 0, False, SplitOptions())
    expected = {"train": train, "val": val, "test": list(range(14))}
    assert {name: keys.tolist() for name, keys in splits.items()} == expected
    assert dataset.domain(1).parts == {}


def test_a_test_list_is_read(small_pacs: Make) -> None:
    dataset = small_pacs()
    write_lists(dataset, train=[0], crossval=[1], test=[*range(13, -1, -1)])
    assert dataset.domain(0).parts["test"].tolist() == [*range(13, -1, -1)]


def test_an_image_named_twice_is_refused_but_for_the_known_slip(small_pacs: Make) -> None:
    dataset = small_pacs()
    write_lists(dataset, train=[0, 2], crossval=[1, 3, 1])
    with pytest.raises(DataError, match=r"names images twice: art_painting/dog/pic_001.jpg\. Download it again"):
        dataset.domain(0)
    for path in (dataset.root() / "PACS").glob("*.txt"):
        path.unlink()
    dogs = dataset.root() / "PACS/art_painting/dog"
    for now, then in (("pic_000.jpg", "pic_248.jpg"), ("pic_001.jpg", "pic_249.jpg")):
        (dogs / now).rename(dogs / then)
    write_lists(dataset, train=[2, 3], crossval=[0, 4, 0])
    assert dataset.domain(0).parts["val"].tolist() == [0, 4, 1]


def test_the_folder_of_lists_is_no_stray(small_pacs: Make) -> None:
    dataset = small_pacs()
    write_lists(dataset, "splits", train=[0], crossval=[1])
    (dataset.root() / "PACS/other").mkdir()
    assert PACS.strays(dataset.root()) == ["other"]


def test_downloaded_lists_lie_beside_the_domains(tmp_path: Path) -> None:
    for name in PACS.metadata.domains:
        (tmp_path / "kfold" / name).mkdir(parents=True)
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/photo_train_kfold.txt").touch()
    PACS.prepare(tmp_path)
    assert (tmp_path / "PACS/splits/photo_train_kfold.txt").is_file()


def test_lists_that_are_not_there_are_asked_for(small_pacs: Make) -> None:
    dataset = small_pacs()
    asked = rf"Put the eight files .* into {dataset.root()}/PACS/splits, or type --protocol domainbed\."
    with pytest.raises(DataError, match=asked):
        get_protocol("official").split(dataset.domain(0), 0, False, SplitOptions())


def test_half_a_set_of_lists_is_refused(small_pacs: Make) -> None:
    dataset = small_pacs()
    write_lists(dataset, train=[0, 1])
    with pytest.raises(DataError, match=r"art_painting_crossval_kfold.txt is missing"):
        dataset.domain(0)


def test_overlapping_lists_are_refused(small_pacs: Make) -> None:
    dataset = small_pacs()
    write_lists(dataset, train=[0, 1], crossval=[1])
    with pytest.raises(DataError, match="overlap"):
        dataset.domain(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("art_painting/dog/pic_999.jpg 1\n", "1 of the 1 images .* do not exist: art_painting/dog/pic_999.jpg"),
        ("art_painting/dog/pic_000.jpg 0\n", "1 of 1 images another class"),
        ("art_painting/dog/pic_000.jpg\n", "does not hold lines 'path label'"),
        ("", "is empty"),
    ],
)
def test_bad_lists_are_named(small_pacs: Make, text: str, message: str) -> None:
    dataset = small_pacs()
    write_lists(dataset, train=[1], crossval=[2])
    (dataset.root() / "PACS" / "art_painting_train_kfold.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        dataset.domain(0)


def test_debug_datasets_are_the_same_every_time() -> None:
    from dfdgbench.datasets.debug import Debug28, Debug224

    first, second = Debug28().domain(1), Debug28().domain(1)
    assert first.fingerprint() == second.fingerprint() != Debug28().domain(0).fingerprint()
    assert all(set(Debug28().domain(index).labels) == {0, 1} for index in range(3))
    assert Debug224().domain(0).image(0).size == (224, 224)
    assert np.asarray(first.image(3)).shape == (28, 28, 3)
