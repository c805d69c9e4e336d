"""The data sets of WILDS over the tables and images of small archives, read by the package wilds or its stand-in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image
from trees_folders import TREES, planted

from dfdgbench.datasets.base import DATASETS
from dfdgbench.datasets.check import extras
from dfdgbench.datasets.check.status import status
from dfdgbench.datasets.domains import FolderDomain
from dfdgbench.errors import DataError, MissingDataError, MissingExtraError

RELEASES = {"WILDSCamelyon": "camelyon17_v1.0/RELEASE_v1.0.txt", "WILDSFMoW": "fmow_v1.1/RELEASE_v1.1.txt"}


def test_hospitals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("WILDSCamelyon", tmp_path, monkeypatch)
    domain = dataset.domain(2)
    assert isinstance(domain, FolderDomain)
    assert domain.name == "hospital_2"
    assert domain.files == [
        "patches/patient_002_node_4/patch_patient_002_node_4_x_64_y_32.png",
        "patches/patient_007_node_4/patch_patient_007_node_4_x_224_y_112.png",
    ]
    assert domain.labels.tolist() == [0, 1]
    assert dataset.metadata.classes == ("normal", "tumour")


def test_regions_leave_sequestered_images_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("WILDSFMoW", tmp_path, monkeypatch)
    found = []
    for index in range(6):
        domain = dataset.domain(index)
        assert isinstance(domain, FolderDomain)
        found.append((domain.name, domain.files, domain.labels.tolist()))
    # Image 3 is the sequestered one, so that Asia (0) has the images 0 and 7, Americas (3) 4 and 10.
    assert found[0] == ("region_0", ["images/rgb_img_0.png", "images/rgb_img_7.png"], [0, 30])
    assert found[3] == ("region_3", ["images/rgb_img_4.png", "images/rgb_img_10.png"], [15, 45])
    assert found[5] == ("region_5", ["images/rgb_img_6.png", "images/rgb_img_12.png"], [25, 55])
    assert not any("rgb_img_3.png" in file for _, files, _ in found for file in files)


@pytest.mark.parametrize("name", RELEASES)
def test_a_missing_package_names_the_extra(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted(name, tmp_path, monkeypatch)
    for module in [module for module in sys.modules if module.split(".")[0] == "wilds"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "wilds", None)
    with pytest.raises(MissingExtraError, match=r"'wilds', which is not installed.*pip install 'dfdgbench\[wilds\]'"):
        dataset.domain(0)
    monkeypatch.setattr(extras, "requires", lambda _: ["numpy", 'nosuchpackage>=2; extra == "wilds"'])
    found = status(name, tmp_path)
    assert found.state == "ok"
    assert found.remarks == (
        f"Reading {name} needs the package 'nosuchpackage', which is not installed. Type: pip install 'dfdgbench[wilds]'",
    )


@pytest.mark.parametrize("name", RELEASES)
def test_the_package_is_not_needed_where_there_is_no_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wilds", None)
    with pytest.raises(MissingDataError, match=f"{RELEASES[name].split('/')[0]} does not exist"):
        DATASETS.get(name)(tmp_path).domain(0)


@pytest.mark.parametrize("name", RELEASES)
def test_what_the_package_cannot_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted(name, tmp_path, monkeypatch)
    release = tmp_path / RELEASES[name]
    release.unlink()
    with pytest.raises(DataError, match=r"wilds cannot read .*\(FileNotFoundError: .*Expected layout: .*RELEASE"):
        dataset.domain(0)
    with pytest.raises(DataError, match=r"its tables in .* cannot be read \(FileNotFoundError: .*RELEASE"):
        dataset.listed(0)
    release.write_bytes(b"")
    table = release.parent / {"WILDSCamelyon": "metadata.csv", "WILDSFMoW": "rgb_metadata.csv"}[name]
    table.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"wilds cannot read .*\(KeyError: "):
        dataset.domain(0)
    with pytest.raises(DataError, match=r"its tables in .* cannot be read \(ValueError: .*Expected layout"):
        dataset.listed(0)


def test_missing_images_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("WILDSFMoW", tmp_path, monkeypatch)
    (tmp_path / "fmow_v1.1/images/rgb_img_3.png").unlink()
    assert len(dataset.domain(0)) == 2
    (tmp_path / "fmow_v1.1/images/rgb_img_12.png").unlink()
    with pytest.raises(DataError, match=r"1 of the 12 images .*: images/rgb_img_12.png"):
        DATASETS.get("WILDSFMoW")(tmp_path).domain(0)
    assert status("WILDSFMoW", tmp_path).state == "wrong"


def test_a_hospital_without_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("WILDSCamelyon", tmp_path, monkeypatch)
    table = tmp_path / "camelyon17_v1.0/metadata.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.endswith(",3,0")))
    for look in (dataset.domain, dataset.listed):
        with pytest.raises(DataError, match="no image belongs to the domain 'hospital_3'"):
            look(3)
        look(4)


def test_a_country_without_a_region_is_counted_as_the_package_numbers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Antarctica is, whose region the list of countries leaves empty."""
    dataset = planted("WILDSFMoW", tmp_path, monkeypatch)
    codes = tmp_path / "fmow_v1.1/country_code_mapping.csv"
    codes.write_text(codes.read_text().replace("KEN,Africa", "KEN,"))
    assert [dataset.listed(index) for index in range(6)] == [len(dataset.open(index)) for index in range(6)] == [2] * 6


@pytest.mark.parametrize("name", RELEASES)
def test_tables_are_read_once_and_the_limit_of_image_sizes_stays(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Image.MAX_IMAGE_PIXELS
    dataset = planted(name, tmp_path, monkeypatch)
    dataset.domain(0)
    (tmp_path / RELEASES[name]).unlink()
    assert len(dataset.domain(1)) == TREES[name](tmp_path / "again")["counts"][1]
    assert before == Image.MAX_IMAGE_PIXELS
    assert type(dataset).strays(tmp_path) == []
