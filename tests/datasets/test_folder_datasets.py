"""The folder data sets over small trees in their own layout: what is read, and what is said of a tree that is not right."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from trees_folders import TREES, planted

from dfdgbench.datasets.base import DATASETS
from dfdgbench.datasets.check.status import status
from dfdgbench.datasets.domains import FolderDomain
from dfdgbench.errors import DataError, MissingDataError

PLAIN = ("PACS", "VLCS", "OfficeHome", "TerraIncognita", "DomainNet", "SVIRO")
"""Those in folders DOMAIN/CLASS."""
TOTALS = {
    "PACS": 9991, "VLCS": 10729, "OfficeHome": 15588, "TerraIncognita": 24330, "DomainNet": 586575,
    "SpawriousO2O_hard": 50688,
}  # fmt: skip
CLASSES = {"PACS": 7, "VLCS": 5, "OfficeHome": 65, "TerraIncognita": 10, "DomainNet": 345, "SVIRO": 7, "WILDSFMoW": 62}


@pytest.mark.parametrize("name", TREES)
def test_every_domain_is_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted(name, tmp_path, monkeypatch)
    for index, domain_name in enumerate(dataset.metadata.domains):
        domain = dataset.domain(index)
        assert isinstance(domain, FolderDomain)
        assert domain.name == domain_name
        assert domain.parts == {}
        assert len(set(domain.files)) == len(domain) == len(domain.labels)
        assert domain.image(len(domain) - 1).size == (8, 8)
        assert domain.fingerprint() == DATASETS.get(name)(tmp_path).domain(index).fingerprint()
    found = status(name, tmp_path)
    assert [(row.state, row.reason) for row in found.domains] == [("ok", "")] * len(dataset.metadata.domains)


@pytest.mark.parametrize("name", PLAIN)
def test_labels_are_the_class_folders_in_the_order_of_imagefolder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torchvision = pytest.importorskip("torchvision.datasets")
    dataset = planted(name, tmp_path, monkeypatch)
    for index, domain_name in enumerate(dataset.metadata.domains):
        domain = dataset.domain(index)
        assert isinstance(domain, FolderDomain)
        reference = torchvision.ImageFolder(tmp_path / dataset.metadata.folder / domain_name)
        assert [domain.path(key) for key in range(len(domain))] == [path for path, _ in reference.samples]
        assert domain.labels.tolist() == reference.targets
        assert tuple(reference.classes) == dataset.metadata.classes


@pytest.mark.parametrize("name", PLAIN)
def test_domains_are_in_domainbeds_order(name: str) -> None:
    assert list(DATASETS.get(name).metadata.domains) == sorted(DATASETS.get(name).metadata.domains)


@pytest.mark.parametrize(("name", "total"), TOTALS.items())
def test_published_totals(name: str, total: int) -> None:
    assert sum(DATASETS.get(name).metadata.counts or ()) == total


@pytest.mark.parametrize(("name", "number"), CLASSES.items())
def test_published_numbers_of_classes(name: str, number: int) -> None:
    assert len(set(DATASETS.get(name).metadata.classes)) == number


@pytest.mark.parametrize("name", PLAIN)
def test_wrong_count_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted(name, tmp_path, monkeypatch)
    metadata = dataset.metadata
    counts = metadata.counts or ()
    folder = tmp_path / metadata.folder / metadata.domains[1] / metadata.classes[0]
    next(folder.iterdir()).unlink()
    with pytest.raises(
        DataError, match=f"'{metadata.domains[1]}' has {counts[1] - 1} images, {counts[1]} are expected"
    ):
        dataset.domain(1)
    assert dataset.domain(2).name == metadata.domains[2]


@pytest.mark.parametrize("name", PLAIN)
def test_missing_renamed_and_additional_domain_folders(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = planted(name, tmp_path, monkeypatch)
    folder, domains = tmp_path / dataset.metadata.folder, dataset.metadata.domains
    (folder / "aaa").mkdir()
    assert dataset.domain(0).name == domains[0]
    assert type(dataset).strays(tmp_path) == ["aaa"]
    (folder / domains[1]).rename(folder / f"{domains[1]}_old")
    with pytest.raises(MissingDataError, match=f"Rename '{domains[1]}_old' to '{domains[1]}'"):
        dataset.domain(1)
    shutil.rmtree(folder / domains[2])
    with pytest.raises(MissingDataError, match=f"'{domains[2]}' does not exist.* dfdgbench data download {name}"):
        dataset.domain(2)


def test_real_world_has_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("OfficeHome", tmp_path, monkeypatch)
    folder = tmp_path / "office_home"
    (folder / "Real World").rename(folder / "Real_World")
    with pytest.raises(MissingDataError, match="Rename 'Real_World' to 'Real World'"):
        dataset.domain(3)


@pytest.mark.parametrize("name", PLAIN)
def test_missing_and_additional_class_folders(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted(name, tmp_path, monkeypatch)
    metadata = dataset.metadata
    folder = tmp_path / metadata.folder / metadata.domains[0]
    (folder / metadata.classes[2]).rename(folder / "strange")
    with pytest.raises(DataError, match=f"missing: {metadata.classes[2]}; not a class: strange"):
        dataset.domain(0)


def test_the_older_terra_incognita_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dfdgbench.datasets import terraincognita

    dataset = planted("TerraIncognita", tmp_path, monkeypatch)
    monkeypatch.setattr(terraincognita, "OLDER_COUNTS", (21, 9767, 4020, 6122))
    assert len(dataset.domain(0)) == 20
    (tmp_path / "terra_incognita/location_100/dog/more.jpg").write_bytes(b"")
    again = type(dataset)(tmp_path)
    with pytest.raises(DataError, match=r"'location_100' has 21 images.*older version.*21, 9767.*20, 21, 22, 23"):
        again.domain(0)
    assert status("TerraIncognita", tmp_path).domains[0].state == "wrong"
    assert "older version" in status("TerraIncognita", tmp_path).domains[0].reason


def test_both_versions_of_terra_incognita_are_told_by_their_real_counts() -> None:
    from dfdgbench.datasets.terraincognita import OLDER_COUNTS, TerraIncognita

    assert sum(OLDER_COUNTS) == 24788
    assert all(old > new for old, new in zip(OLDER_COUNTS, TerraIncognita.metadata.counts or (), strict=True))
