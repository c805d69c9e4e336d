"""PACS: art paintings, cartoons, photos and sketches of seven classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfdgbench.datasets.base import DATASETS, Dataset, Keys, Metadata
from dfdgbench.datasets.domains import FolderDomain, folder_domain
from dfdgbench.errors import DataError, listing

LIST_FOLDERS = ("", "splits")
LIST_NAMES = {"train": "train", "val": "crossval", "test": "test"}
WRONG_LABELS = 0.01


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
    )

    def open(self, index: int) -> FolderDomain:
        folder = self.domain_folder(index)
        domain = folder_domain(self.metadata.domains[index], folder, self.metadata.classes)
        domain.parts = official_parts(folder.parent, domain)
        return domain


def official_parts(root: Path, domain: FolderDomain) -> dict[str, Keys]:
    """The parts train, val and test of ``domain`` by the official lists, or nothing where there are none.

    Without a test list, test is the whole domain.

    Raises:
        DataError: a list is unreadable, names an image that is not there, or lacks its counterpart.
    """
    lists = {part: _find(root, f"{domain.name}_{word}_kfold.txt") for part, word in LIST_NAMES.items()}
    if not any(lists.values()):
        return {}
    positions = {f"{domain.name}/{file}": key for key, file in enumerate(domain.files)}
    parts = {part: read_list(path, domain, positions) for part, path in lists.items() if path is not None}
    parts.setdefault("test", np.arange(len(domain), dtype=np.int64))
    missing = [f"{domain.name}_{LIST_NAMES[part]}_kfold.txt" for part in LIST_NAMES if part not in parts]
    if missing:
        raise DataError(f"Official lists in {root}: {listing(missing)} is missing. Add it, or remove the other lists.")
    if np.intersect1d(parts["train"], parts["val"]).size:
        raise DataError(f"The train and crossval lists of '{domain.name}' in {root} overlap. Download them again.")
    return parts


def read_list(path: Path, domain: FolderDomain, positions: dict[str, int]) -> Keys:
    """Indices into ``domain`` of the images in a list, whose lines are ``domain/class/file label`` with label from 1.

    Classes are those of the folders; the list's labels only tell whether the list belongs to them, and one in a
    hundred may differ, so that a single doubtful entry does not shut out the rest.
    """
    try:
        rows = [line.rsplit(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        files, labels = [file for file, _ in rows], np.array([int(label) for _, label in rows], dtype=np.int64)
    except (OSError, ValueError) as error:
        raise DataError(f"The list {path} does not hold lines 'path label' ({error}). Download it again.") from error
    if not files:
        raise DataError(f"The list {path} is empty. Download it again.")
    absent = [file for file in files if file not in positions]
    if absent:
        raise DataError(f"{len(absent)} of the {len(files)} images in {path} do not exist: {listing(absent, 3)}.")
    keys = np.array([positions[file] for file in files], dtype=np.int64)
    different = int((domain.labels[keys] != labels - 1).sum())
    if different > WRONG_LABELS * len(keys):
        raise DataError(
            f"The list {path} gives {different} of {len(keys)} images another class than their folder. "
            "Labels count from 1 in the order of the class names. Download the list again."
        )
    return keys


def _find(root: Path, name: str, folders: Sequence[str] = LIST_FOLDERS) -> Path | None:
    found = (root / folder / name for folder in folders)
    return next((path for path in found if path.is_file()), None)
