"""From what the archives unpack to, in their own layout, to the folder a data set is read from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from trees_folders import JPEG, TREES, write

from dfdgbench.datasets.base import DATASETS
from dfdgbench.datasets.get.staging import bring
from dfdgbench.datasets.terraincognita import PARTS
from dfdgbench.errors import DataError

UNPACKED = [
    ("PACS", "kfold"),
    ("PACS", "Homework3-PACS-master/PACS"),
    ("PACS", "PACS/PACS"),
    ("PACS", ""),
    ("VLCS", "VLCS"),
    ("OfficeHome", "OfficeHomeDataset_10072016"),
    ("SVIRO", "SVIRO_DOMAINBED"),
    ("SpawriousO2O_easy", "spawrious224"),
    ("SpawriousM2M_hard", ""),
]


@pytest.mark.parametrize(("name", "unpacked"), UNPACKED)
def test_archives_folders_are_renamed(
    name: str, unpacked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, written, staging = DATASETS.get(name), tmp_path / "written", tmp_path / "staging"
    monkeypatch.setattr(dataset, "metadata", dataset.metadata.model_copy(update=TREES[name](written)))
    (staging / unpacked).parent.mkdir(parents=True, exist_ok=True)
    if unpacked:
        (written / dataset.metadata.folder).rename(staging / unpacked)
        if "/" in unpacked:
            write(staging / Path(unpacked).parent / "README.md")
    else:
        (written / dataset.metadata.folder).rename(staging)
    write(staging / "__MACOSX/art_painting/._dog.jpg")
    dataset.prepare(staging)
    assert [path.name for path in staging.iterdir()] == [dataset.metadata.folder]
    opened = dataset(staging)
    for index, count in enumerate(dataset.metadata.counts or ()):
        assert len(opened.domain(index)) == count


def test_another_archive_is_told_by_what_it_holds(tmp_path: Path) -> None:
    for name in ("art_painting", "cartoon", "photo"):
        write(tmp_path / "kfold" / name / "dog/1.jpg")
    with pytest.raises(
        DataError, match=r"no folder with art_painting, cartoon, photo, sketch in it. It holds: kfold, kfold/a"
    ):
        DATASETS.get("PACS").prepare(tmp_path)
    with pytest.raises(DataError, match="It holds: no folder"):
        bring(tmp_path / "kfold/photo/dog", "PACS", ("a",))


def test_a_folder_of_the_same_name_beside_gives_way(tmp_path: Path) -> None:
    write(tmp_path / "PACS/lists/readme.txt")
    write(tmp_path / "kfold/a/1.jpg")
    assert bring(tmp_path, "PACS", ("a",)) == tmp_path / "PACS"
    assert [path.name for path in (tmp_path / "PACS").iterdir()] == ["a"]


CATEGORIES = [{"id": number, "name": name} for number, name in enumerate(("empty", "cat", "dog", "car", "bird"), 10)]


def terra_archives(staging: Path, images: Sequence[tuple[str, Any]], annotations: Sequence[tuple[str, int]]) -> None:
    """TerraIncognita's two archives, unpacked: images (id, location) and annotations (image, category), dealt to the parts."""
    for number, (name, _) in enumerate(images):
        write(staging / f"eccv_18_all_images_sm/{name}.jpg", JPEG + bytes([number]))
    for number, part in enumerate(PARTS):
        mine = images[number :: len(PARTS)]
        content = {
            "info": {},
            "categories": CATEGORIES,
            "images": [
                {"id": name, "file_name": f"{name}.jpg", "location": place, "seq_id": "s", "width": 8, "height": 8}
                for name, place in mine
            ],
            "annotations": [
                {"id": f"{image}-{category}", "image_id": image, "category_id": category, "bbox": [0, 0, 1, 1]}
                for image, category in annotations
                if image in dict(mine)
            ],
        }
        path = staging / f"eccv_18_annotation_files/{part}_annotations.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))


IMAGES = [
    ("one", 38),
    ("two", "46"),
    ("three", 100),
    ("four", 43),
    ("five", 7),
    ("six", 38),
    ("seven", 100),
    ("eight", 43),
]
ANNOTATIONS = [
    ("one", 11), ("two", 12), ("three", 10), ("four", 14), ("five", 11), ("six", 11), ("six", 12), ("six", 11), ("seven", 13),
]  # fmt: skip


def test_terra_incognita_is_sorted_by_place_and_class(tmp_path: Path) -> None:
    terra_archives(tmp_path, IMAGES, ANNOTATIONS)
    contents = {path.name: path.read_bytes() for path in (tmp_path / "eccv_18_all_images_sm").iterdir()}
    DATASETS.get("TerraIncognita").prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["terra_incognita"]
    found = {path.relative_to(tmp_path / "terra_incognita").as_posix(): path for path in tmp_path.rglob("*.jpg")}
    # Another place's, one of no kept class and one without annotation are left out; one of two classes is in both.
    assert sorted(found) == [
        "location_100/empty/three.jpg",
        "location_38/cat/one.jpg",
        "location_38/cat/six.jpg",
        "location_38/dog/six.jpg",
        "location_43/bird/four.jpg",
        "location_46/dog/two.jpg",
    ]
    assert all(path.read_bytes() == contents[path.name] for path in found.values())


def test_terra_incognitas_archives_that_do_not_belong_together(tmp_path: Path) -> None:
    terra_archives(tmp_path, IMAGES, ANNOTATIONS)
    (tmp_path / "eccv_18_all_images_sm/six.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of the 5 images .* are not in .*: six.jpg"):
        DATASETS.get("TerraIncognita").prepare(tmp_path)
    assert (tmp_path / "eccv_18_all_images_sm/one.jpg").is_file()


@pytest.mark.parametrize(
    ("table", "entry", "message"),
    [
        ("categories", None, r"lack an entry \(KeyError: 'categories'\)"),
        ("images", {"file_name": "one.jpg"}, r"lack an entry \(KeyError: 'location'\)"),
        ("images", {"id": ["one"], "location": 38}, "lack an entry"),
        (
            "images",
            {"id": "one", "location": 38, "file_name": "../one.jpg"},
            "images outside the images' folder: ../one.jpg",
        ),
        ("annotations", {"image_id": "one", "category_id": 99}, r"lack an entry \(KeyError: 99\)"),
        ("annotations", 7, "lack an entry"),
    ],
)
def test_terra_incognitas_annotations_that_are_not_right(tmp_path: Path, table: str, entry: Any, message: str) -> None:
    terra_archives(tmp_path, IMAGES, ANNOTATIONS)
    path = tmp_path / "eccv_18_annotation_files/cis_test_annotations.json"
    content = json.loads(path.read_text())
    content[table][0] = entry
    if entry is None:
        del content[table]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        DATASETS.get("TerraIncognita").prepare(tmp_path)
    assert not (tmp_path / "terra_incognita").exists()


def test_terra_incognitas_annotations_that_are_no_tables(tmp_path: Path) -> None:
    terra_archives(tmp_path, IMAGES, ANNOTATIONS)
    (tmp_path / "eccv_18_annotation_files/train_annotations.json").write_text("[]")
    with pytest.raises(DataError, match=r"lack an entry \(TypeError: "):
        DATASETS.get("TerraIncognita").prepare(tmp_path)


@pytest.mark.parametrize("text", ["", "{", None])
def test_terra_incognitas_unreadable_annotations(tmp_path: Path, text: str | None) -> None:
    terra_archives(tmp_path, IMAGES, ANNOTATIONS)
    path = tmp_path / "eccv_18_annotation_files/trans_val_annotations.json"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(DataError, match=r"trans_val_annotations.json cannot be read"):
        DATASETS.get("TerraIncognita").prepare(tmp_path)


def test_terra_incognita_of_other_places(tmp_path: Path) -> None:
    terra_archives(tmp_path, [("one", 1)], [("one", 11)])
    with pytest.raises(DataError, match="no image of the places 100, 38, 43, 46"):
        DATASETS.get("TerraIncognita").prepare(tmp_path)


def domainnet_archives(staging: Path, duplicates: str) -> None:
    for domain in ("clipart", "infograph"):
        for number in range(3):
            write(staging / f"domain_net/{domain}/t-shirt/{domain}_328_00000{number}.jpg")
    (staging / "domain_net_duplicates.txt").write_text(duplicates)


def test_domainnets_duplicates_are_deleted(tmp_path: Path) -> None:
    gone = ["clipart/t-shirt/clipart_328_000001.jpg", "infograph/t-shirt/infograph_328_000000.jpg"]
    domainnet_archives(tmp_path, "\n".join([*gone, "real/zebra/real_344_000001.jpg", ""]))
    DATASETS.get("DomainNet").prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["domain_net"]
    left = [path.relative_to(tmp_path / "domain_net").as_posix() for path in sorted(tmp_path.rglob("*.jpg"))]
    assert left == [
        "clipart/t-shirt/clipart_328_000000.jpg",
        "clipart/t-shirt/clipart_328_000002.jpg",
        "infograph/t-shirt/infograph_328_000001.jpg",
        "infograph/t-shirt/infograph_328_000002.jpg",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it holds nothing"),
        ("<html>", "it holds <html>"),
        ("clipart/../../x.jpg\n", "it holds clipart/../../x.jpg"),
        ("/clipart/t-shirt/clipart_328_000001.jpg\n", "it holds /clipart"),
        ("clipart/t-shirt/..\n", "it holds clipart/t-shirt/.."),
    ],
)
def test_a_list_of_duplicates_that_is_none_deletes_nothing(tmp_path: Path, text: str, message: str) -> None:
    domainnet_archives(tmp_path, "clipart/t-shirt/clipart_328_000001.jpg\n" + text if text else "")
    with pytest.raises(DataError, match=message):
        DATASETS.get("DomainNet").prepare(tmp_path)
    assert len(list(tmp_path.rglob("*.jpg"))) == 6


def test_no_list_of_duplicates(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"domain_net_duplicates.txt, cannot be read"):
        DATASETS.get("DomainNet").prepare(tmp_path)
