"""Small trees of the segmentation data sets, laid out as their archives unpack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dfdgbench.datasets.base import DATASETS
from dfdgbench.datasets.segmentation import SegmentationDataset

Ids = NDArray[np.int64]

WIDTH, HEIGHT = 24, 12
LABEL_IDS = (0, 7, 8, 11, 21, 23, 24, 26, 28, 33)
SYNTHIA_LABELS = (0, 1, 2, 3, 4, 8, 10, 16, 22)
CITIES: Mapping[str, Mapping[str, int]] = {"train": {"aachen": 2, "zurich": 1}, "val": {"lindau": 2}}
OVERLAPPING = "pano_0000"


def picture(path: Path, number: int, width: int = WIDTH, height: int = HEIGHT) -> None:
    """A noise image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.RandomState(number).randint(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)


def blocks(number: int, ids: Sequence[int], width: int = WIDTH, height: int = HEIGHT) -> Ids:
    """Label ids in blocks of 4x4 pixels."""
    small = np.random.RandomState(number).choice(ids, (-(-height // 4), -(-width // 4)))
    return np.kron(small, np.ones((4, 4), dtype=np.int64))[:height, :width].astype(np.int64)


def grey_mask(path: Path, ids: Ids) -> None:
    """8 bits, one channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids.astype(np.uint8)).save(path)


def palette_mask(path: Path, ids: Ids) -> None:
    """8 bits with a palette whose colours are not their indices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids.astype(np.uint8))
    image.putpalette(np.random.RandomState(1).randint(0, 256, 768).astype(np.uint8).tobytes())
    assert image.mode == "P"
    image.save(path)


def deep_mask(path: Path, ids: Ids) -> None:
    """16 bits in three channels: the label id, the number of the instance, nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = np.zeros((*ids.shape, 3), dtype=np.uint16)
    channels[..., 0], channels[..., 1] = ids, 700
    assert cv2.imwrite(str(path), channels[..., ::-1])


def cityscapes(root: Path) -> int:
    """Writes ``Cityscapes``; returns how many images."""
    number = 0
    for part, cities in CITIES.items():
        for city, count in cities.items():
            for frame in range(count):
                number += 1
                name = f"{city}/{city}_{frame:06d}_000019"
                picture(root / f"Cityscapes/leftImg8bit/{part}/{name}_leftImg8bit.png", number)
                stem = f"Cityscapes/gtFine/{part}/{name}_gtFine_"
                grey_mask(root / f"{stem}labelIds.png", blocks(number, LABEL_IDS))
                grey_mask(root / f"{stem}labelTrainIds.png", blocks(number + 50, range(19)))
                picture(root / f"{stem}color.png", number)
    picture(root / "Cityscapes/leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png", 0)
    return number


def gta5_to_cityscapes(root: Path) -> dict[str, Any]:
    for number in range(1, 5):
        width = WIDTH + 3 if number == 2 else WIDTH
        picture(root / f"GTA5/images/{number:05d}.png", number)
        palette_mask(root / f"GTA5/labels/{number:05d}.png", blocks(number, (*LABEL_IDS, 34), width))
    return {"counts": (4, cityscapes(root)), "attributes": {"cities": CITIES}}


def synthia_to_cityscapes(root: Path) -> dict[str, Any]:
    for number in (0, 1, 8999, 9000):
        picture(root / f"SYNTHIA/RGB/{number:07d}.png", number)
        deep_mask(root / f"SYNTHIA/GT/LABELS/{number:07d}.png", blocks(number, SYNTHIA_LABELS))
    return {"counts": (4, cityscapes(root)), "attributes": {"cities": CITIES}}


def cityscapes_to_nthu(root: Path) -> dict[str, Any]:
    for city in ("Rio", "Rome", "Taipei", "Tokyo"):
        suffix = "png" if city == "Rome" else "jpg"
        for number in range(4):
            picture(root / f"NTHU/{city}/Images/Train/pano_{number:04d}.{suffix}", number)
        for number in (0, 7):
            picture(root / f"NTHU/{city}/Images/Test/pano_{number:04d}.{suffix}", number)
            grey_mask(root / f"NTHU/{city}/Labels/Test/pano_{number:04d}_eval.png", blocks(number, LABEL_IDS))
    return {"counts": (cityscapes(root), 6, 6, 6, 6), "attributes": {"cities": CITIES}}


CAMVID_FILES = (
    "train/0001TP_006690", "train/0001TP_006720", "train/0006R0_f00930", "train/0006R0_f00960", "train/0016E5_00390",
    "val/0016E5_07959", "val/0016E5_07961", "test/0001TP_008550", "test/0001TP_008580", "test/Seq05VD_f00000",
    "test/Seq05VD_f03570", "test/Seq05VD_f03600", "test/Seq05VD_f05100",
)  # fmt: skip


def camvid(root: Path) -> dict[str, Any]:
    for number, file in enumerate(CAMVID_FILES):
        split, name = file.split("/")
        picture(root / f"CamVid/{split}/{name}.png", number)
        grey_mask(root / f"CamVid/{split}annot/{name}.png", blocks(number, range(12)))
    for split in ("train", "val", "test"):
        (root / f"CamVid/{split}.txt").write_text("")
    return {"counts": (5, 4, 4)}


TREES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "GTA5-Cityscapes": gta5_to_cityscapes,
    "SYNTHIA-Cityscapes": synthia_to_cityscapes,
    "SYNTHIA-Cityscapes-lanes": synthia_to_cityscapes,
    "Cityscapes-NTHU": cityscapes_to_nthu,
    "Cityscapes-NTHU-disjoint": cityscapes_to_nthu,
    "CamVid": camvid,
}


def planted(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> SegmentationDataset:
    """The data set ``name`` over its small tree, written below ``root``."""
    found = DATASETS.get(name)
    assert issubclass(found, SegmentationDataset)
    fields = TREES[name](root)
    for attribute, value in fields.pop("attributes", {}).items():
        monkeypatch.setattr(found, attribute, value)
    monkeypatch.setattr(found, "metadata", found.metadata.model_copy(update=fields))
    return found(root)
