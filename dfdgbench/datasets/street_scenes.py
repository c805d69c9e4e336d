"""Street scenes: label ids and class sets of Cityscapes and what is compared with it, and how each corpus is read.

All classes are counted in the order of Cityscapes' 19 (its "train ids"); smaller problems keep some of them and renumber.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from dfdgbench.datasets.base import Keys
from dfdgbench.datasets.disk.masks import MaskReader, Table, read_first_of_16_bits, read_indexed, table
from dfdgbench.datasets.disk.scan import images_below
from dfdgbench.datasets.domains import MaskedDomain
from dfdgbench.datasets.metadata import Colour
from dfdgbench.datasets.segmentation import SegmentationDataset, in_both_roles, masks_of
from dfdgbench.errors import DataError, listing

NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "light", "sign", "vegetation", "terrain", "sky", "person",
    "rider", "car", "truck", "bus", "train", "motor", "bike",
)  # fmt: skip
PALETTE: tuple[Colour, ...] = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70),
    (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip

CITYSCAPES_IDS = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15,
    31: 16, 32: 17, 33: 18,
}  # fmt: skip
"""Cityscapes' label ids, which GTA5 and NTHU use too, to the 19 classes; licence plates (-1) and all others have none."""

SYNTHIA_IDS = {
    1: 10, 2: 2, 3: 0, 4: 1, 5: 4, 6: 8, 7: 5, 8: 13, 9: 7, 10: 11, 11: 18, 12: 17, 15: 6, 16: 9, 17: 12, 18: 14, 19: 15,
    20: 16, 21: 3,
}  # fmt: skip
"""SYNTHIA's label ids to the 19 classes. Void (0, 13, 14) has none, nor have lane markings."""
LANE_MARKING, ROAD = 22, NAMES.index("road")
"""SYNTHIA's label id, which MaxSquare's release ignores and CRST's counts as road, and the class."""


@dataclass(frozen=True)
class ClassSet:
    """Some of the 19 classes, renumbered in their order.

    Attributes:
        kept: the classes, as indices into the 19.
    """

    kept: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(NAMES[index] for index in self.kept)

    @property
    def palette(self) -> tuple[Colour, ...]:
        return tuple(PALETTE[index] for index in self.kept)

    def table(self, ids: Mapping[int, int]) -> Table:
        """From label ids to this set's indices, given label ids to the 19 classes."""
        return table({label: self.kept.index(index) for label, index in ids.items() if index in self.kept})


NINETEEN = ClassSet(tuple(range(19)))
SIXTEEN = ClassSet((0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18))
THIRTEEN = ClassSet((0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18))

CITIES: Mapping[str, Mapping[str, int]] = {
    "train": {
        "aachen": 174, "bochum": 96, "bremen": 316, "cologne": 154, "darmstadt": 85, "dusseldorf": 221, "erfurt": 109,
        "hamburg": 248, "hanover": 196, "jena": 119, "krefeld": 99, "monchengladbach": 94, "strasbourg": 365,
        "stuttgart": 196, "tubingen": 144, "ulm": 95, "weimar": 142, "zurich": 122,
    },
    "val": {"frankfurt": 267, "lindau": 59, "munster": 174},
}  # fmt: skip
"""Images a city of Cityscapes' fine annotations: 2,975 of 18 cities and 500 of 3."""

IMAGE_END, MASK_END, EVAL_END = "_leftImg8bit.png", "_gtFine_labelIds.png", "_eval.png"
AUTHORS_SPLIT = ("split.mat", "read_mapping/split.mat")
SYNTHIA_VALIDATION = 9000


class StreetScenes(SegmentationDataset):
    """A problem between corpora of street scenes.

    Attributes:
        class_set: the classes it is scored on.
        cities: what Cityscapes must hold: images a city of its parts train and val.
    """

    class_set: ClassVar[ClassSet]
    cities: ClassVar[Mapping[str, Mapping[str, int]]] = CITIES


def cityscapes(dataset: StreetScenes) -> MaskedDomain:
    """Cityscapes' fine annotations: 2,975 training images to learn from, 500 validation images to measure on.

    Masks are ``_gtFine_labelIds.png``; ``_labelTrainIds.png`` are not read, whose void differs.
    """
    root, files = dataset.below("Cityscapes"), {}
    for part, expected in dataset.cities.items():
        folder = dataset.inside(root, "leftImg8bit", part)
        files[part] = [file for file in images_below(folder) if file.endswith(IMAGE_END)]
        _check_cities(folder, files[part], expected)
        dataset.inside(root, "gtFine", part)
    images = [f"leftImg8bit/{part}/{file}" for part in files for file in files[part]]
    masks = masks_of(root, images, [f"gtFine/{part}" for part in files], _cityscapes_mask)
    keys, train = np.arange(len(images), dtype=np.int64), len(files["train"])
    read = partial(read_indexed, lookup=dataset.class_set.table(CITYSCAPES_IDS))
    return MaskedDomain("Cityscapes", root, images, masks, read, in_both_roles(keys[:train], keys[train:]))


def _cityscapes_mask(image: str) -> str:
    return "gtFine" + image.removeprefix("leftImg8bit").removesuffix(IMAGE_END) + MASK_END


def _check_cities(folder: Path, files: Sequence[str], expected: Mapping[str, int]) -> None:
    found = Counter(file.split("/")[0] for file in files)
    wrong = [
        f"{city} {found[city]} instead of {expected.get(city, 0)}"
        for city in sorted({*found, *expected})
        if found[city] != expected.get(city, 0)
    ]
    if wrong:
        raise DataError(
            f"The images CITY/*{IMAGE_END} in {folder} are not those of Cityscapes' {len(expected)} cities: "
            f"{listing(wrong)}. Unpack leftImg8bit_trainvaltest.zip anew and move away what is too much."
        )


def gta5(dataset: StreetScenes) -> MaskedDomain:
    """GTA5: 24,966 images, all to learn from, as adaptation uses them.

    Where its authors' list lies beside them (``GTA5/split.mat``, or ``GTA5/read_mapping/split.mat`` as it is unpacked), its
    6,382 validation images are measured on and the other 18,584 learnt from. A few images differ from their masks in size.
    """
    root = dataset.below("GTA5")
    images = [f"images/{file}" for file in images_below(dataset.inside(root, "images"))]
    dataset.inside(root, "labels")
    masks = masks_of(root, images, ["labels"], lambda image: "labels" + image.removeprefix("images"))
    numbers = _numbers(root, images)
    held = np.zeros(len(images), dtype=bool)
    split = next((root / name for name in AUTHORS_SPLIT if (root / name).is_file()), None)
    if split is not None:
        held = np.isin(numbers, read_authors_split(split, numbers))
    read = partial(read_indexed, lookup=dataset.class_set.table(CITYSCAPES_IDS))
    return MaskedDomain("GTA5", root, images, masks, read, in_both_roles(np.flatnonzero(~held), np.flatnonzero(held)))


def read_authors_split(path: Path, numbers: Keys) -> Keys:
    """Numbers of the validation images in GTA5's ``split.mat``, whose three lists must hold each of ``numbers`` once."""
    from scipy.io import loadmat

    try:
        content = loadmat(path)
        lists = [np.asarray(content[name]).astype(np.int64).reshape(-1) for name in ("trainIds", "valIds", "testIds")]
    except Exception as error:  # the parser fails on a damaged file with whatever its bytes happen to cause
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"The list {path} cannot be read as GTA5's split: trainIds, valIds and testIds ({reason}). Download it again, or "
            "remove it to train on all images."
        ) from error
    listed = np.concatenate(lists)
    if len(listed) != len(numbers) or set(listed.tolist()) != set(numbers.tolist()):
        raise DataError(
            f"The list {path} names {len(listed)} images, which are not the {len(numbers)} in images/, each once. "
            "Complete the images, or remove the list to train on all of them."
        )
    return lists[1]


@dataclass(frozen=True)
class SynthiaLabels:
    """One way SYNTHIA's masks are kept.

    Attributes:
        folder, end: a mask is ``folder/NUMBER`` and ``end``.
        read: how one is read.
        ids: its label ids to the 19 classes.
    """

    folder: str
    end: str
    read: MaskReader
    ids: Mapping[int, int]


SYNTHIA_LABELS = (
    SynthiaLabels("GT/LABELS", ".png", read_first_of_16_bits, SYNTHIA_IDS),
    SynthiaLabels("GT/LABELS", "_labelTrainIds.png", read_indexed, {index: index for index in range(19)}),
    SynthiaLabels("parsed_LABELS", ".png", read_indexed, SYNTHIA_IDS),
)
"""As published, in 16 bits; converted to the 19 classes in 8; the published ids in 8. The first that is there is read."""


def synthia(dataset: StreetScenes, lanes_are_road: bool = False) -> MaskedDomain:
    """SYNTHIA-RAND-CITYSCAPES: images 0 to 8999 to learn from, 9000 to 9399 to measure on.

    Read from ``SYNTHIA`` or, as it is unpacked, ``SYNTHIA/RAND_CITYSCAPES``; masks as in ``SYNTHIA_LABELS``.

    Args:
        lanes_are_road: count lane markings as road; by default they have no class.

    Raises:
        DataError: lane markings are asked for and the masks that are there no longer tell them apart.
    """
    root = dataset.below("SYNTHIA")
    root = root / "RAND_CITYSCAPES" if (root / "RAND_CITYSCAPES").is_dir() else root
    images = [f"RGB/{file}" for file in images_below(dataset.inside(root, "RGB"))]
    kept = _synthia_labels(root, images)
    dataset.inside(root, *kept.folder.split("/"))
    masks = masks_of(root, images, [kept.folder], partial(_synthia_mask, kept))
    measured = _numbers(root, images) >= SYNTHIA_VALIDATION
    ids = _with_lanes(dataset, kept, root) if lanes_are_road else kept.ids
    read = partial(kept.read, lookup=dataset.class_set.table(ids))
    parts = in_both_roles(np.flatnonzero(~measured), np.flatnonzero(measured))
    return MaskedDomain("SYNTHIA", root, images, masks, read, parts)


def _with_lanes(dataset: StreetScenes, kept: SynthiaLabels, root: Path) -> Mapping[int, int]:
    if kept.ids is not SYNTHIA_IDS:
        raise DataError(
            f"{dataset.metadata.name}: the masks {root / kept.folder}/NUMBER{kept.end} hold Cityscapes' classes, which do not "
            "tell lane markings from what else has no class. Put SYNTHIA's own masks (GT/LABELS/NUMBER.png) there, or type "
            "--dataset SYNTHIA-Cityscapes, which takes them as they are."
        )
    return {**kept.ids, LANE_MARKING: ROAD}


def _synthia_labels(root: Path, images: Sequence[str]) -> SynthiaLabels:
    there = (kept for kept in SYNTHIA_LABELS if images and (root / _synthia_mask(kept, images[0])).is_file())
    return next(there, SYNTHIA_LABELS[0])


def _synthia_mask(kept: SynthiaLabels, image: str) -> str:
    return kept.folder + image.removeprefix("RGB").removesuffix(".png") + kept.end


def _numbers(root: Path, images: Sequence[str]) -> Keys:
    stems = [PurePosixPath(image).stem for image in images]
    odd = [image for image, stem in zip(images, stems, strict=True) if not (stem.isascii() and stem.isdigit())]
    if odd:
        raise DataError(f"{len(odd)} images in {root} are not named by a number: {listing(odd, 3)}. Move them away.")
    return np.array([int(stem) for stem in stems], dtype=np.int64)


def nthu_city(dataset: StreetScenes, city: str, drop_overlap: bool = False) -> tuple[MaskedDomain, list[str]]:
    """One city of NTHU's: 3,200 images without masks to adapt to, 100 with masks to test on.

    Some test images also lie, by name, among the images to adapt to; their names (without ending) are returned too.

    Args:
        drop_overlap: leave those out of what is adapted to; the domain keeps all its images.
    """
    root = dataset.below("NTHU", city)
    train, test = (
        [f"Images/{part}/{file}" for file in images_below(dataset.inside(root, "Images", part))]
        for part in ("Train", "Test")
    )
    dataset.inside(root, "Labels", "Test")
    masks = masks_of(root, test, ["Labels/Test"], _nthu_mask)
    names = {PurePosixPath(image).stem for image in test}
    shared = np.array([PurePosixPath(image).stem in names for image in train], dtype=bool)
    adapted = np.flatnonzero(~shared) if drop_overlap else np.arange(len(train), dtype=np.int64)
    parts = {"uda": adapted, "test": len(train) + np.arange(len(test), dtype=np.int64)}
    read = partial(read_indexed, lookup=dataset.class_set.table(CITYSCAPES_IDS))
    domain = MaskedDomain(city, root, [*train, *test], [""] * len(train) + masks, read, parts)
    return domain, [PurePosixPath(train[key]).stem for key in np.flatnonzero(shared)]


def _nthu_mask(image: str) -> str:
    return str(PurePosixPath("Labels/Test", PurePosixPath(image).stem)) + EVAL_END
