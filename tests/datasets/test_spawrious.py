"""Spawrious: which images each domain takes from the archive's folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from trees_folders import planted, write

from dfdgbench.datasets import spawrious
from dfdgbench.datasets.base import DATASETS, Dataset
from dfdgbench.datasets.domains import FolderDomain
from dfdgbench.errors import DataError, MissingDataError

HARD = {
    # DomainBed's order: bulldog, dachshund, labrador, corgi, each before its own landscape, then the filler.
    1: [("0", "jungle", "bulldog"), ("0", "mountain", "dachshund"), ("0", "snow", "labrador"), ("0", "desert", "corgi"),
        ("0", "beach", "bulldog"), ("0", "beach", "dachshund"), ("0", "beach", "labrador"), ("0", "beach", "corgi")],
    2: [("1", "jungle", "bulldog"), ("1", "mountain", "dachshund"), ("1", "snow", "labrador"), ("1", "desert", "corgi"),
        ("1", "beach", "bulldog"), ("1", "beach", "dachshund"), ("1", "beach", "labrador"), ("1", "beach", "corgi")],
    0: [("0", "mountain", "bulldog"), ("0", "snow", "dachshund"), ("0", "desert", "labrador"), ("0", "jungle", "corgi"),
        ("1", "mountain", "bulldog"), ("1", "snow", "dachshund"), ("1", "desert", "labrador"), ("1", "jungle", "corgi")],
}  # fmt: skip
SHARED_EASY = {
    1: [("0", "desert", "bulldog"), ("0", "mountain", "dachshund"), ("0", "dirt", "labrador"), ("0", "jungle", "corgi")],
    2: [("0", "mountain", "bulldog"), ("0", "desert", "dachshund"), ("0", "jungle", "labrador"), ("0", "dirt", "corgi")],
    0: [("0", "dirt", "bulldog"), ("0", "jungle", "dachshund"), ("0", "mountain", "labrador"), ("0", "desert", "corgi"),
        ("0", "jungle", "bulldog"), ("0", "dirt", "dachshund"), ("0", "desert", "labrador"), ("0", "mountain", "corgi")],
}  # fmt: skip


def opened(dataset: Dataset, index: int) -> FolderDomain:
    domain = dataset.domain(index)
    assert isinstance(domain, FolderDomain)
    return domain


@pytest.mark.parametrize(("name", "cells"), [("SpawriousO2O_hard", HARD), ("SpawriousM2M_easy", SHARED_EASY)])
def test_landscapes_of_breeds(
    name: str, cells: dict[int, list[tuple[str, str, str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = planted(name, tmp_path, monkeypatch)
    for index, expected in cells.items():
        domain = opened(dataset, index)
        files = [
            f"{half}/{landscape}/{breed}/{landscape}_{breed}_{number}.png"
            for half, landscape, breed in expected
            for number in range(2)
        ]
        assert domain.files == files
        breeds = [dataset.metadata.classes[label] for label in domain.labels]
        assert breeds == [file.split("/")[2] for file in files]


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("SpawriousO2O_easy", tmp_path, monkeypatch)
    for half in "01":
        for landscape in ("desert", "beach"):
            for number in range(2, 120):
                write(tmp_path / f"spawrious224/{half}/{landscape}/bulldog/{landscape}_bulldog_{number}.png")
    monkeypatch.setattr(spawrious, "TOTAL", 100)
    monkeypatch.setattr(type(dataset), "metadata", dataset.metadata.model_copy(update={"counts": None}))
    for index, correlated, filler in ((1, 97, 3), (2, 87, 13)):
        files = opened(dataset, index).files
        assert sum(file.startswith(f"{index - 1}/desert/bulldog/") for file in files) == correlated
        assert sum(file.startswith(f"{index - 1}/beach/bulldog/") for file in files) == filler
        taken = [file for file in files if "beach/bulldog" in file]
        assert taken == sorted(taken)


def test_counts_are_the_papers() -> None:
    for name in DATASETS.names():
        if name.startswith("Spawrious"):
            recipe = DATASETS.get(name).recipe  # type: ignore[attr-defined]
            limits = [[cell.limit or 3168 for cell in recipe.cells(index)] for index in range(3)]
            assert (
                tuple(int(np.sum(of)) for of in limits) == DATASETS.get(name).metadata.counts == (25344, 12672, 12672)
            )


def test_domainbeds_place_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("SpawriousO2O_easy", tmp_path, monkeypatch)
    for half in "01":
        (tmp_path / "spawrious224" / half).rename(tmp_path / half)
    assert opened(dataset, 1).root == tmp_path
    assert len(opened(dataset, 0)) == 16


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"neither .*spawrious224 nor .* holds its images"):
        DATASETS.get("SpawriousM2M_hard")(tmp_path).domain(1)


def test_a_missing_folder_and_strays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("SpawriousO2O_easy", tmp_path, monkeypatch)
    assert type(dataset).strays(tmp_path) == []
    shutil.rmtree(tmp_path / "spawrious224/1/jungle/dachshund")
    (tmp_path / "spawrious224/masks").mkdir()
    assert len(opened(dataset, 1)) == 16
    with pytest.raises(DataError, match=r"1/jungle/dachshund of domain 'SC_group_2' does not exist"):
        dataset.domain(2)
    assert type(dataset).strays(tmp_path) == ["masks"]
