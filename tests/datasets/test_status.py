"""`dfdgbench data status`: a row for every domain, whatever is on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dfdgbench.datasets.base import DATASETS
from dfdgbench.datasets.disk.status import status, status_of_all
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
