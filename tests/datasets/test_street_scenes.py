"""Street scenes: label maps, and what is read of trees laid out as the archives unpack."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from trees_segmentation import (
    CITIES,
    LABEL_IDS,
    OVERLAPPING,
    SYNTHIA_LABELS,
    TREES,
    blocks,
    grey_mask,
    picture,
    planted,
)

from dfdgbench.datasets import street_scenes
from dfdgbench.datasets.base import DATASETS, Dataset
from dfdgbench.datasets.domains import MaskedDomain
from dfdgbench.datasets.segmentation import SegmentationDataset
from dfdgbench.datasets.street_scenes import (
    CITYSCAPES_IDS,
    NINETEEN,
    SIXTEEN,
    SYNTHIA_IDS,
    THIRTEEN,
    StreetScenes,
    nthu_city,
)
from dfdgbench.errors import DataError, MissingDataError

NAMES = [name for name in TREES if name != "CamVid"]
# The direct map of Cityscapes' ids to the 13 classes of NTHU.
NTHU_IDS = {7: 0, 8: 1, 11: 2, 19: 3, 20: 4, 21: 5, 23: 6, 24: 7, 25: 8, 26: 9, 28: 10, 32: 11, 33: 12}


def opened(dataset: Dataset, index: int) -> MaskedDomain:
    domain = dataset.domain(index)
    assert isinstance(domain, MaskedDomain)
    return domain


def mapped(ids: np.ndarray, classes: dict[int, int]) -> list[list[int]]:
    return [[classes.get(int(label), 255) for label in row] for row in ids]


def without(ids: dict[int, int], kept: tuple[int, ...]) -> dict[int, int]:
    """``ids`` restricted to the classes ``kept``, renumbered."""
    order = sorted(kept)
    return {label: order.index(index) for label, index in ids.items() if index in order}


def test_cityscapes_map_names_19_of_256_ids() -> None:
    lookup = NINETEEN.table(CITYSCAPES_IDS)
    assert lookup[lookup != 255].tolist() == list(range(19))
    void = [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 34, 254, 255]
    assert (lookup[void] == 255).all()


def test_thirteen_classes_are_nthus() -> None:
    lookup = THIRTEEN.table(CITYSCAPES_IDS)
    assert {int(label): int(lookup[label]) for label in np.flatnonzero(lookup != 255)} == NTHU_IDS
    assert len(THIRTEEN.names) == 13
    assert not {"wall", "fence", "pole", "terrain", "truck", "train"} & set(THIRTEEN.names)


def test_sixteen_classes_lack_terrain_truck_and_train() -> None:
    assert set(NINETEEN.names) - set(SIXTEEN.names) == {"terrain", "truck", "train"}
    assert [SIXTEEN.names.index(name) for name in THIRTEEN.names] == [0, 1, 2, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    assert (SIXTEEN.table(CITYSCAPES_IDS) != 255).sum() == 16


def test_synthia_map() -> None:
    lookup = NINETEEN.table(SYNTHIA_IDS)
    assert sorted(lookup[lookup != 255].tolist()) == list(range(19))
    assert [int(lookup[label]) for label in (0, 13, 14, 22, 23)] == [255] * 5
    assert [NINETEEN.names[lookup[label]] for label in (1, 3, 8, 10, 21)] == ["sky", "road", "car", "person", "wall"]
    sixteen = SIXTEEN.table(SYNTHIA_IDS)
    assert [int(sixteen[label]) for label in (16, 18, 20)] == [255] * 3


def test_palettes_follow_the_classes() -> None:
    assert dict(zip(NINETEEN.names, NINETEEN.palette, strict=True))["sky"] == (70, 130, 180)
    assert dict(zip(THIRTEEN.names, THIRTEEN.palette, strict=True))["bike"] == (119, 11, 32)
    assert len(set(NINETEEN.palette)) == 19


def test_cities_are_those_published() -> None:
    train, val = (street_scenes.CITIES[part] for part in ("train", "val"))
    assert (len(train), sum(train.values()), len(val), sum(val.values())) == (18, 2975, 3, 500)


@pytest.mark.parametrize("name", NAMES)
def test_metadata_and_domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    published = DATASETS.get(name).metadata.counts
    dataset = planted(name, tmp_path, monkeypatch)
    metadata = dataset.metadata
    assert metadata.shape == (256, 512)
    assert metadata.protocols == ("adaptation",)
    assert published is not None and published[metadata.domains.index("Cityscapes")] == 3475
    assert "leftImg8bit_trainvaltest.zip" in metadata.manual and "gtFine_trainvaltest.zip" in metadata.manual
    for subset in dataset.subsets.values():
        assert set(subset) < set(metadata.classes)
    for index, domain_name in enumerate(metadata.domains):
        domain = opened(dataset, index)
        assert domain.name == domain_name
        assert (domain.labels == -1).all()
        assert domain.image(0).mode == "RGB"
        for part in ("train", "val", "test"):
            for key in domain.parts.get(part, ()):
                found = set(np.unique(domain.mask(key)).tolist())
                assert found <= {*range(len(metadata.classes)), 255}
        assert not set(domain.parts["uda"].tolist()) & set(domain.parts.get("test", ()))


def test_cityscapes_as_source_and_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = opened(planted("GTA5-Cityscapes", tmp_path, monkeypatch), 1)
    assert {name: keys.tolist() for name, keys in domain.parts.items()} == {
        "train": [0, 1, 2],
        "uda": [0, 1, 2],
        "val": [3, 4],
        "test": [3, 4],
    }
    assert domain.files[2] == "leftImg8bit/train/zurich/zurich_000000_000019_leftImg8bit.png"
    assert domain.masks[2] == "gtFine/train/zurich/zurich_000000_000019_gtFine_labelIds.png"
    assert domain.mask(2).tolist() == mapped(blocks(3, LABEL_IDS), CITYSCAPES_IDS)


def test_gta5_masks_are_indices_of_a_palette(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = opened(planted("GTA5-Cityscapes", tmp_path, monkeypatch), 0)
    assert domain.mask(0).tolist() == mapped(blocks(1, (*LABEL_IDS, 34)), CITYSCAPES_IDS)
    assert {name: keys.tolist() for name, keys in domain.parts.items()} == {"train": [0, 1, 2, 3], "uda": [0, 1, 2, 3]}
    assert domain.image(1).size == (24, 12)
    assert domain.mask(1).shape == (12, 27)


@pytest.mark.parametrize("folder", ["", "read_mapping"])
def test_gta5s_authors_list_gives_validation_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    dataset = planted("GTA5-Cityscapes", tmp_path, monkeypatch)
    (tmp_path / "GTA5" / folder).mkdir(exist_ok=True)
    savemat(tmp_path / "GTA5" / folder / "split.mat", {"trainIds": [[1], [4]], "valIds": [[2]], "testIds": [[3]]})
    parts = opened(dataset, 0).parts
    assert {name: keys.tolist() for name, keys in parts.items()} == {
        "train": [0, 2, 3],
        "uda": [0, 2, 3],
        "val": [1],
        "test": [1],
    }


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"trainIds": [1, 4], "valIds": [2], "testIds": [2]}, "names 4 images, which are not the 4 in images/"),
        ({"trainIds": [1, 4], "valIds": [2], "testIds": [3, 5]}, "names 5 images, which are not the 4"),
        ({"trainIds": [1, 4], "valIds": [2]}, "cannot be read as GTA5's split.*testIds"),
        (None, "cannot be read as GTA5's split"),
    ],
)
def test_a_wrong_authors_list_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: dict[str, list[int]] | None, said: str
) -> None:
    dataset = planted("GTA5-Cityscapes", tmp_path, monkeypatch)
    path = tmp_path / "GTA5" / "split.mat"
    path.write_bytes(b"MATLAB") if lists is None else savemat(path, lists)
    with pytest.raises(DataError, match=said):
        dataset.domain(0)


def test_images_without_a_number_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("SYNTHIA-Cityscapes", tmp_path, monkeypatch)
    picture(tmp_path / "SYNTHIA/RGB/copy.png", 1)
    shutil.copy(tmp_path / "SYNTHIA/GT/LABELS/0000000.png", tmp_path / "SYNTHIA/GT/LABELS/copy.png")
    with pytest.raises(DataError, match=r"not named by a number: RGB/copy\.png"):
        dataset.domain(0)


@pytest.mark.parametrize("inner", ["", "RAND_CITYSCAPES"])
def test_synthia_is_cut_by_number_and_read_in_16_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    dataset = planted("SYNTHIA-Cityscapes", tmp_path, monkeypatch)
    if inner:
        (tmp_path / "SYNTHIA").rename(tmp_path / "moved")
        (tmp_path / "SYNTHIA").mkdir()
        (tmp_path / "moved").rename(tmp_path / "SYNTHIA" / inner)
    domain = opened(dataset, 0)
    assert domain.parts["train"].tolist() == domain.parts["uda"].tolist() == [0, 1, 2]
    assert domain.parts["val"].tolist() == domain.parts["test"].tolist() == [3]
    classes = without(SYNTHIA_IDS, SIXTEEN.kept)
    for key, number in enumerate((0, 1, 8999, 9000)):
        assert domain.mask(key).tolist() == mapped(blocks(number, SYNTHIA_LABELS), classes)


def test_synthias_lane_markings_are_road_in_a_data_set_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = opened(planted("SYNTHIA-Cityscapes", tmp_path, monkeypatch), 0)
    lanes = opened(planted("SYNTHIA-Cityscapes-lanes", tmp_path, monkeypatch), 0)
    classes, seen = without(SYNTHIA_IDS, SIXTEEN.kept), 0
    for key, number in enumerate((0, 1, 8999, 9000)):
        ids = blocks(number, SYNTHIA_LABELS)
        assert lanes.mask(key).tolist() == mapped(ids, {**classes, 22: SIXTEEN.names.index("road")})
        differ = plain.mask(key) != lanes.mask(key)
        assert (differ == (ids == 22)).all() and (plain.mask(key)[differ] == 255).all()
        seen += int(differ.sum())
    assert seen > 0
    # What was made of the one reading (stores of masks, artifacts) is never taken for the other's.
    assert plain.fingerprint() != lanes.fingerprint()
    shutil.rmtree(tmp_path / "SYNTHIA/GT")
    for number in (0, 1, 8999, 9000):
        grey_mask(tmp_path / f"SYNTHIA/parsed_LABELS/{number:07d}.png", np.full((12, 24), 22))
    again = opened(DATASETS.get("SYNTHIA-Cityscapes-lanes")(tmp_path), 0)
    assert (again.mask(0) == SIXTEEN.names.index("road")).all()


def test_masks_that_no_longer_tell_lane_markings_are_refused_where_these_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = planted("SYNTHIA-Cityscapes-lanes", tmp_path, monkeypatch)
    shutil.rmtree(tmp_path / "SYNTHIA/GT")
    for number in (0, 1, 8999, 9000):
        grey_mask(tmp_path / f"SYNTHIA/GT/LABELS/{number:07d}_labelTrainIds.png", blocks(number, range(19)))
    with pytest.raises(
        DataError, match=r"NUMBER_labelTrainIds\.png hold Cityscapes' classes.*--dataset SYNTHIA-Cityscapes,"
    ):
        dataset.domain(0)


def test_synthias_masks_in_8_bits_where_the_published_ones_belong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = planted("SYNTHIA-Cityscapes", tmp_path, monkeypatch)
    path = tmp_path / "SYNTHIA/GT/LABELS/0000001.png"
    deep = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), (deep // 256).astype(np.uint8))
    with pytest.raises(DataError, match=r"0000001\.png holds 8 bits .* 16 bits in 3 channels are expected"):
        opened(dataset, 0).mask(1)


@pytest.mark.parametrize(
    ("folder", "end", "classes"),
    [
        ("GT/LABELS", "_labelTrainIds", without({index: index for index in range(19)}, SIXTEEN.kept)),
        ("parsed_LABELS", "", without(SYNTHIA_IDS, SIXTEEN.kept)),
    ],
)
def test_synthias_masks_converted_to_8_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, end: str, classes: dict[int, int]
) -> None:
    dataset = planted("SYNTHIA-Cityscapes", tmp_path, monkeypatch)
    shutil.rmtree(tmp_path / "SYNTHIA/GT")
    for number in (0, 1, 8999, 9000):
        grey_mask(tmp_path / f"SYNTHIA/{folder}/{number:07d}{end}.png", blocks(number, range(23)))
    assert opened(dataset, 0).mask(3).tolist() == mapped(blocks(9000, range(23)), classes)


def test_the_published_masks_of_synthia_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("SYNTHIA-Cityscapes", tmp_path, monkeypatch)
    for number in (0, 1, 8999, 9000):
        grey_mask(tmp_path / f"SYNTHIA/GT/LABELS/{number:07d}_labelTrainIds.png", np.zeros((12, 24)))
    assert opened(dataset, 0).masks[0] == "GT/LABELS/0000000.png"


@pytest.mark.parametrize(
    ("name", "adapted"), [("Cityscapes-NTHU", [0, 1, 2, 3]), ("Cityscapes-NTHU-disjoint", [1, 2, 3])]
)
def test_nthu_cities_and_their_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, adapted: list[int]
) -> None:
    dataset = planted(name, tmp_path, monkeypatch)
    with caplog.at_level(logging.INFO, logger="dfdgbench"):
        domains = [opened(dataset, index) for index in range(1, 5)]
    assert [domain.name for domain in domains] == ["Rio", "Rome", "Taipei", "Tokyo"]
    for domain in domains:
        assert {part: keys.tolist() for part, keys in domain.parts.items()} == {"uda": adapted, "test": [4, 5]}
        assert domain.masks[:4] == [""] * 4
        assert domain.mask(5).tolist() == mapped(blocks(7, LABEL_IDS), NTHU_IDS)
        with pytest.raises(DataError, match="has no mask: it is unlabelled"):
            domain.mask(0)
    assert len(caplog.messages) == 4
    assert "Rio: 1 of the 2 test images are, by name, also adapted to" in caplog.messages[0]
    assert OVERLAPPING in caplog.messages[0]


def test_overlapping_names_are_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("Cityscapes-NTHU", tmp_path, monkeypatch)
    assert isinstance(dataset, StreetScenes)
    assert nthu_city(dataset, "Rio")[1] == nthu_city(dataset, "Rio", drop_overlap=True)[1] == [OVERLAPPING]
    (tmp_path / "NTHU/Rio/Images/Train" / f"{OVERLAPPING}.jpg").unlink()
    assert nthu_city(dataset, "Rio")[1] == []


MASKS = [
    ("GTA5-Cityscapes", 0, "GTA5", "images/00003.png", "labels/00003.png"),
    ("SYNTHIA-Cityscapes", 0, "SYNTHIA", "RGB/0008999.png", "GT/LABELS/0008999.png"),
    (
        "Cityscapes-NTHU",
        0,
        "Cityscapes",
        "leftImg8bit/val/lindau/lindau_000001_000019_leftImg8bit.png",
        "gtFine/val/lindau/lindau_000001_000019_gtFine_labelIds.png",
    ),
    ("Cityscapes-NTHU", 4, "NTHU/Tokyo", "Images/Test/pano_0007.jpg", "Labels/Test/pano_0007_eval.png"),
]


@pytest.mark.parametrize(("name", "index", "root", "image", "mask"), MASKS)
def test_a_missing_mask_is_named_with_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, index: int, root: str, image: str, mask: str
) -> None:
    dataset = planted(name, tmp_path, monkeypatch)
    (tmp_path / root / mask).unlink()
    with pytest.raises(DataError) as error:
        dataset.domain(index)
    assert not isinstance(error.value, MissingDataError)
    assert f"have no mask: {image} (its mask would be {mask})" in str(error.value)


@pytest.mark.parametrize(("name", "index", "root", "image", "mask"), MASKS)
def test_a_mask_cut_short_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, index: int, root: str, image: str, mask: str
) -> None:
    domain = opened(planted(name, tmp_path, monkeypatch), index)
    path = tmp_path / root / mask
    before = domain.fingerprint()
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=rf"{path.name} cannot be decoded"):
        domain.mask(domain.files.index(image))
    assert domain.fingerprint() != before


@pytest.mark.parametrize(("name", "index", "root", "image", "mask"), MASKS)
def test_missing_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, index: int, root: str, image: str, mask: str
) -> None:
    dataset = planted(name, tmp_path, monkeypatch)
    shutil.move(tmp_path / root / mask.split("/")[0], tmp_path / "elsewhere")
    with pytest.raises(DataError, match=f"{name}: the folder .* does not exist") as half:
        dataset.domain(index)
    assert not isinstance(half.value, MissingDataError)
    shutil.rmtree(tmp_path / root)
    with pytest.raises(MissingDataError, match=f"{root} does not exist.*data download {name}"):
        dataset.domain(index)


def test_a_folder_called_otherwise_is_hinted_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("GTA5-Cityscapes", tmp_path, monkeypatch)
    (tmp_path / "Cityscapes").rename(tmp_path / "cityscape")
    with pytest.raises(MissingDataError, match="If 'cityscape' beside it is meant, rename it to 'Cityscapes'"):
        dataset.domain(1)


def test_missing_images_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("GTA5-Cityscapes", tmp_path, monkeypatch)
    (tmp_path / "GTA5/images/00001.png").unlink()
    with pytest.raises(DataError, match="'GTA5' has 3 images, 4 are expected"):
        dataset.domain(0)


def test_wrong_cities_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("GTA5-Cityscapes", tmp_path, monkeypatch)
    folder = tmp_path / "Cityscapes/leftImg8bit/train"
    (folder / "aachen/aachen_000000_000019_leftImg8bit.png").unlink()
    shutil.move(folder / "zurich", folder / "berne")
    with pytest.raises(DataError, match="aachen 1 instead of 2, berne 1 instead of 0, zurich 0 instead of 1"):
        dataset.domain(1)


def test_the_published_cities_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = planted("GTA5-Cityscapes", tmp_path, monkeypatch)
    monkeypatch.setattr(type(dataset), "cities", street_scenes.CITIES)
    with pytest.raises(DataError, match="Cityscapes' 18 cities: aachen 2 instead of 174, bochum 0 instead of 96"):
        dataset.domain(1)
    assert CITIES["train"] != street_scenes.CITIES["train"]


def test_colour_masks_in_place_of_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = opened(planted("GTA5-Cityscapes", tmp_path, monkeypatch), 0)
    Image.new("RGB", (4, 4)).save(tmp_path / "GTA5/labels/00001.png")
    with pytest.raises(DataError, match=r"00001\.png is an image of mode RGB"):
        domain.mask(0)


def test_mean_of_thirteen_is_declared() -> None:
    found = DATASETS.get("SYNTHIA-Cityscapes")
    assert issubclass(found, SegmentationDataset)
    assert found.subsets == {"thirteen": THIRTEEN.names}
    assert found.metadata.classes == SIXTEEN.names
