"""PACS: art paintings, cartoons, photos and sketches of seven classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dfdgbench.datasets.base import DATASETS, Dataset, Keys, Metadata, Source
from dfdgbench.datasets.disk.lists import Lists, read_parts, refuse_overlap
from dfdgbench.datasets.domains import FolderDomain, folder_domain
from dfdgbench.datasets.get.staging import bring

LISTS = Lists(
    names={
        "train": "{domain}_train_kfold.txt",
        "val": "{domain}_crossval_kfold.txt",
        "test": "{domain}_test_kfold.txt",
    },
    numbers=range(1, 8),
    needed=("train", "val"),
    folders=("", "splits"),
)


@DATASETS.register("PACS")
class PACS(Dataset):
    """Photos, art, cartoons and sketches (Li et al. 2017), 9,991 images of 227x227 pixels.

    Where the official lists (``art_painting_train_kfold.txt``, ``_crossval_kfold.txt``, ``_test_kfold.txt``) lie in
    ``PACS/`` or ``PACS/splits/``, they become the parts train, val and test, test being the whole domain; without
    them a domain has no parts, and the protocol "official" is refused.
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
        ),
    )

    def open(self, index: int) -> FolderDomain:
        folder = self.domain_folder(index)
        domain = folder_domain(self.metadata.domains[index], folder, self.metadata.classes)
        domain.parts = official_parts(folder.parent, domain)
        return domain

    @classmethod
    def prepare(cls, staging: Path) -> None:
        bring(staging, cls.metadata.folder, cls.metadata.domains)


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
