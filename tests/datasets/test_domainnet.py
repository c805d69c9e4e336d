"""DomainNet's official lists, and its two versions."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees_folders import planted, write

from dfdgbench.datasets import domainnet
from dfdgbench.datasets.base import Dataset
from dfdgbench.datasets.check.status import status
from dfdgbench.datasets.domainnet import CLASSES, LIST_DIGESTS, OFFICIAL_LABELS, UNCLEANED_COUNTS, DomainNet
from dfdgbench.datasets.domains import folder_domain
from dfdgbench.datasets.protocols import SplitOptions, get_protocol
from dfdgbench.errors import DataError

# From the published lists: names whose place differs between the two orders, and their neighbours.
PUBLISHED_LABELS = {
    "aircraft_carrier": 0, "basketball": 19, "cello": 66, "cell_phone": 67, "paintbrush": 205, "paint_can": 206,
    "teddy-bear": 303, "The_Eiffel_Tower": 308, "The_Great_Wall_of_China": 309, "The_Mona_Lisa": 310, "trumpet": 326,
    "t-shirt": 327, "umbrella": 328, "zigzag": 344,
}  # fmt: skip
REMOVED = (704, 1596, 3493, 0, 2380, 1258)


@pytest.fixture
def planted_domainnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    return planted("DomainNet", tmp_path, monkeypatch)


def write_list(dataset: Dataset, part: str, keys: list[int], shift: int = 0) -> None:
    """The list of clipart's images of these indices."""
    domain = folder_domain("clipart", dataset.root() / "domain_net/clipart", CLASSES)
    labels = [OFFICIAL_LABELS[domain.labels[key]] + shift for key in keys]
    lines = [f"clipart/{domain.files[key]} {label}\n" for key, label in zip(keys, labels, strict=True)]
    (dataset.root() / "domain_net" / f"clipart_{part}.txt").write_text("".join(lines))


def test_lists_number_classes_in_an_order_of_their_own() -> None:
    numbers = dict(zip(CLASSES, OFFICIAL_LABELS, strict=True))
    assert {name: numbers[name] for name in PUBLISHED_LABELS} == PUBLISHED_LABELS
    assert sorted(OFFICIAL_LABELS) == list(range(345))


def test_the_official_train_list_and_val_list(planted_domainnet: Dataset) -> None:
    write_list(planted_domainnet, "train", [300, 5, 7, 100, 0, 9])
    write_list(planted_domainnet, "val", [7, 0])
    write_list(planted_domainnet, "test", [1, 344, 2])
    domain = planted_domainnet.domain(0)
    splits = get_protocol("official").split(domain, 0, False, SplitOptions())
    expected = {"train": [300, 5, 100, 9], "val": [7, 0], "test": [1, 344, 2]}
    assert {name: keys.tolist() for name, keys in splits.items()} == expected
    assert planted_domainnet.domain(1).parts == {}


def test_dmgs_train_list_beside_its_val_list_is_taken_as_it_is(planted_domainnet: Dataset) -> None:
    write_list(planted_domainnet, "train", [300, 5])
    write_list(planted_domainnet, "val", [7, 0])
    write_list(planted_domainnet, "test", [1])
    assert planted_domainnet.domain(0).parts["train"].tolist() == [300, 5]


def test_without_a_val_list_the_protocol_cuts_a_tenth(planted_domainnet: Dataset) -> None:
    write_list(planted_domainnet, "train", [*range(100)])
    write_list(planted_domainnet, "test", [*range(100, 120)])
    domain = planted_domainnet.domain(0)
    assert set(domain.parts) == {"train", "test"}
    splits = get_protocol("official").split(domain, 0, False, SplitOptions())
    assert {name: len(keys) for name, keys in splits.items()} == {"train": 90, "val": 10, "test": 20}


@pytest.mark.parametrize("lacking", ["train", "test"])
def test_a_needed_list_is_named(planted_domainnet: Dataset, lacking: str) -> None:
    for part in {"train", "val", "test"} - {lacking}:
        write_list(planted_domainnet, part, [1])
    with pytest.raises(DataError, match=f"clipart_{lacking}.txt is missing"):
        planted_domainnet.domain(0)


@pytest.mark.parametrize("part", ["train", "val"])
def test_parts_that_share_an_image_with_test(planted_domainnet: Dataset, part: str) -> None:
    for other in {"train", "val"}:
        write_list(planted_domainnet, other, [1] if other == part else [2])
    write_list(planted_domainnet, "test", [1])
    with pytest.raises(DataError, match=rf"{part} and test lists of 'clipart' .* overlap.*{CLASSES[1]}"):
        planted_domainnet.domain(0)


def test_lists_of_the_uncleaned_version_are_told(planted_domainnet: Dataset) -> None:
    write_list(planted_domainnet, "train", [1])
    path = planted_domainnet.root() / "domain_net/clipart_test.txt"
    path.write_text("clipart/umbrella/clipart_329_999999.jpg 328\n")
    with pytest.raises(DataError, match=r"1 of the 1 images .*must be those of the cleaned version.*domainnet/txt"):
        planted_domainnet.domain(0)


def test_labels_from_one_are_told(planted_domainnet: Dataset) -> None:
    write_list(planted_domainnet, "train", [1, 2], shift=1)
    write_list(planted_domainnet, "test", [3])
    with pytest.raises(DataError, match=r"2 of 2 images another class.*Labels count from 0"):
        planted_domainnet.domain(0)


def test_images_with_duplicates_are_told(
    planted_domainnet: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = (planted_domainnet.metadata.counts or ())[0]
    for number in range(2):
        write(tmp_path / f"domain_net/clipart/zebra/duplicate_{number}.jpg")
    monkeypatch.setattr(domainnet, "UNCLEANED_COUNTS", (count + 2, *UNCLEANED_COUNTS[1:]))
    with pytest.raises(
        DataError, match=rf"'clipart' has {count + 2} images, 2 of them duplicates.*domain_net_duplicates.txt"
    ):
        planted_domainnet.domain(0)
    assert [row.state for row in status("DomainNet", tmp_path).domains] == ["wrong", *["ok"] * 5]


def test_the_versions_differ_by_the_duplicates() -> None:
    counts = DomainNet.metadata.counts or ()
    assert tuple(old - new for old, new in zip(UNCLEANED_COUNTS, counts, strict=True)) == REMOVED


def test_every_part_of_every_domain_has_a_source() -> None:
    files = {source.file: source for source in DomainNet.metadata.sources}
    domains = DomainNet.metadata.domains
    assert {f"{domain}.zip" for domain in domains} <= set(files)
    assert {f"{domain}_{part}" for domain in domains for part in ("train", "val", "test")} == set(LIST_DIGESTS)
    assert all(files[f"{name}.txt"].into == "domain_net" for name in LIST_DIGESTS)
    assert len(DomainNet.metadata.sources) == 6 + 1 + 18
