"""`dfdgbench data status`: a row for every domain, whatever is on disk."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from trees_digits import MORE, write_mnist, write_usps
from trees_own import own_tree

from dfdgbench.datasets.base import DATASETS
from dfdgbench.datasets.check.status import DatasetStatus, status, status_of_all
from dfdgbench.datasets.pacs import PACS
from dfdgbench.errors import UnknownNameError

Make = Callable[..., PACS]


def test_whole_dataset(small_pacs: Make) -> None:
    found = status("PACS", small_pacs().data_dir)
    assert (found.state, found.found) == ("ok", 56)
    assert [(row.name, row.expected, row.found, row.reason) for row in found.domains] == [
        (name, 14, 14, "") for name in PACS.metadata.domains
    ]


def test_every_kind_of_damage_is_a_row(small_pacs: Make) -> None:
    dataset = small_pacs()
    root = dataset.root() / "PACS"
    shutil.rmtree(root / "art_painting")
    (root / "cartoon" / "dog" / "pic_000.jpg").unlink()
    (root / "photo" / "stray").mkdir()
    found = status("PACS", dataset.data_dir)
    assert [row.state for row in found.domains] == ["missing", "wrong", "wrong", "ok"]
    assert [row.found for row in found.domains] == [None, 13, None, 14]
    assert "13 images instead of 14" in found.domains[1].reason
    assert "not a class: stray" in found.domains[2].reason
    assert found.state == "wrong"


@pytest.mark.parametrize("given", [None, "nowhere"])
def test_no_folder_is_missing_everywhere(tmp_path: Path, given: str | None) -> None:
    data_dir = None if given is None else tmp_path / given
    for found in status_of_all(data_dir):
        expected = "missing" if DATASETS.get(found.name).metadata.needs_data_dir else "embedded"
        assert found.state == expected
        assert all(row.reason for row in found.domains) == (expected == "missing")


def test_every_dataset_has_a_row_in_an_empty_folder(tmp_path: Path) -> None:
    rows = status_of_all(tmp_path)
    assert [row.name for row in rows] == DATASETS.names()
    assert {row.state for row in rows} == {"missing", "embedded"}


def test_unknown_dataset() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean PACS"):
        status("PACs", None)


# The whole list -------------------------------------------------------------------------------------------------------


def named(found: list[DatasetStatus], name: str) -> DatasetStatus:
    return next(each for each in found if each.name == name)


def counts(monkeypatch: pytest.MonkeyPatch, **datasets: tuple[int, ...]) -> None:
    """Let datasets expect as many images a domain."""
    for name, expected in datasets.items():
        found = DATASETS.get(name)
        monkeypatch.setattr(found, "metadata", found.metadata.model_copy(update={"counts": expected}))


def test_every_domain_of_a_dataset_of_arrays_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts(monkeypatch, Digits=(60, 68002, 99289, 61), MNIST=(60,), ColoredMNIST=(20,) * 3, RotatedMNIST=(10,) * 6)
    write_mnist(tmp_path / "MNIST" / "raw", packed=True, counts=MORE)
    write_usps(tmp_path / "USPS", counts=MORE)
    found = status_of_all(tmp_path)
    assert [(row.state, row.found) for row in named(found, "Digits").domains] == [
        ("ok", 60), ("missing", None), ("missing", None), ("wrong", 60),
    ]  # fmt: skip
    reasons = [row.reason for row in named(found, "Digits").domains]
    assert "MNIST-M's list mnist_m_train_labels.txt was not found" in reasons[1]
    assert "SVHN's file train_32x32.mat was not found" in reasons[2]
    assert reasons[3] == "60 images instead of 61"
    for name, domains in (("MNIST", 1), ("ColoredMNIST", 3), ("RotatedMNIST", 6)):
        assert [row.state for row in named(found, name).domains] == ["ok"] * domains
    assert "MNIST-M made of MNIST and photos was not found" in named(found, "DigitsBuilt").domains[1].reason


def test_opening_finds_what_a_header_does_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts(monkeypatch, MNIST=(60,))
    write_mnist(tmp_path / "MNIST" / "raw", counts=MORE)
    labels = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x0a")
    assert status("MNIST", tmp_path).state == "ok"
    (row,) = status("MNIST", tmp_path, opening=True).domains
    assert (row.state, row.found) == ("wrong", None)
    assert "The test part of MNIST holds labels from 0 to 10, which must be numbers from 0 to 9" in row.reason


def test_a_list_takes_no_time_where_there_is_much(tmp_path: Path) -> None:
    for folder in ("MNIST/train", "Digits/SVHN", "camelyon17_v1.0", "fmow_v1.1", "PACS/photo/dog"):
        (tmp_path / folder).mkdir(parents=True)
    status_of_all(tmp_path)  # which imports the datasets
    began = time.perf_counter()
    states = {each.name: each.state for each in status_of_all(tmp_path)}
    assert time.perf_counter() - began < 1
    assert (states["MNIST"], states["WILDSCamelyon"], states["PACS"]) == ("missing", "wrong", "wrong")


@pytest.mark.parametrize("name", DATASETS.names())
def test_how_a_dataset_is_got(tmp_path: Path, name: str) -> None:
    metadata, found = DATASETS.get(name).metadata, status(name, tmp_path)
    if metadata.needs_data_dir:
        assert found.get == ("download" if metadata.sources else "by hand")
    else:
        assert found.get == "nothing to do"
    assert found.expected == (sum(metadata.counts) if metadata.counts else None)
    json.dumps(found.json())


# Strays and other places ----------------------------------------------------------------------------------------------


def test_strays_are_told(small_pacs: Make) -> None:
    dataset = small_pacs()
    (dataset.root() / "PACS" / "photo").rename(dataset.root() / "PACS" / "fotos")
    (dataset.root() / "PACS" / "old").mkdir()
    found = status("PACS", dataset.data_dir)
    assert found.strays == ("fotos", "old")
    assert found.remarks == (
        "The folders fotos, old in PACS belong to no domain and are not read ('fotos' may be 'photo', renamed).",
    )


def test_a_dataset_in_a_folder_of_another_name_is_told(small_pacs: Make) -> None:
    dataset = small_pacs()
    (dataset.root() / "PACS").rename(dataset.root() / "kfold")
    found = status("PACS", dataset.data_dir)
    assert found.state == "missing"
    assert found.remarks == ("The folder 'kfold' holds its domains. Rename it to 'PACS'.",)


@pytest.mark.parametrize(
    ("name", "hint"), [("PACS", "Type --data-dir {parent}."), ("kfold", "Move them into a folder PACS")]
)
def test_the_datasets_own_folder_given_as_the_data_folder_is_told(small_pacs: Make, name: str, hint: str) -> None:
    root = small_pacs().root()
    if name != "PACS":
        (root / "PACS").rename(root / name)
    found = status("PACS", root / name)
    assert len(found.remarks) == 1
    assert found.remarks[0].startswith(f"{root / name} is itself the folder of its domains. {hint.format(parent=root)}")


def test_a_folder_that_cannot_be_listed_is_wrong_and_no_error(
    small_pacs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = small_pacs()

    def refuse(*_: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(PACS, "strays", refuse)
    monkeypatch.setattr(PACS, "open", refuse)
    found = status("PACS", dataset.data_dir)
    assert (found.state, found.strays) == ("wrong", ())
    assert "Permission denied" in found.domains[0].reason


def test_a_tree_of_ones_own_needs_no_data_folder(tmp_path: Path) -> None:
    found = status(f"folder:{own_tree(tmp_path / 'tree')}", "nowhere")
    assert (found.state, found.found, found.get, found.remarks) == ("ok", 18, "nothing to do", ())
