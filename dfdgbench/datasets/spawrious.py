"""Spawrious: four breeds of dog before six kinds of landscape that go with them in training and not in testing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from dfdgbench.datasets.base import DATASETS, Dataset, Metadata, Source
from dfdgbench.datasets.disk.scan import images_below
from dfdgbench.datasets.domains import FolderDomain
from dfdgbench.datasets.get.staging import bring
from dfdgbench.errors import DataError, MissingDataError

FOLDER = "spawrious224"
CLASSES = ("bulldog", "corgi", "dachshund", "labrador")
BREEDS = ("bulldog", "dachshund", "labrador", "corgi")
"""The order in which images are put together, as in DomainBed, so that its splits hold the same classes."""
PARTNERS = (1, 0, 3, 2)
"""Many-to-many: which of ``BREEDS`` a breed exchanges its landscape with."""
TOTAL = 3168
"""Images per class in a training domain, and in each of the archive's folders."""


class Cell(NamedTuple):
    """The images ``half/landscape/breed``, sorted, of which the first ``limit`` are taken (all, where None)."""

    half: str
    landscape: str
    breed: str
    limit: int | None = None


@dataclass(frozen=True)
class Recipe:
    """Landscapes of ``BREEDS`` in training and in testing, and the one that all of them share in training.

    With a ``filler``, one-to-one: in training group 1, 97 % of a class are before its landscape and the rest before the
    filler; in group 2, 87 %. Without, many-to-many: group 2 is group 1 with landscapes exchanged between two pairs.
    """

    train: tuple[str, str, str, str]
    test: tuple[str, str, str, str]
    filler: str = ""

    def cells(self, index: int) -> Iterator[Cell]:
        """What domain ``index`` is made of: 0 the test domain, 1 and 2 the training groups."""
        if index == 0:
            yield from (cell for group in (1, 2) for cell in self._group(self.test, group, None))
        elif not self.filler:
            yield from self._group(self.train, index, TOTAL)
        else:
            correlated = int((0.97, 0.87)[index - 1] * TOTAL)
            yield from self._group(self.train, index, correlated)
            yield from self._group((self.filler,) * 4, index, TOTAL - correlated)

    def _group(self, landscapes: tuple[str, ...], group: int, limit: int | None) -> Iterator[Cell]:
        exchanged = not self.filler and group == 2
        half = str(group - 1) if self.filler else "0"
        for position, breed in enumerate(BREEDS):
            yield Cell(half, landscapes[PARTNERS[position] if exchanged else position], breed, limit)


class Spawrious(Dataset):
    """One of six variants (Lynch et al. 2023): a breed's landscape in training is another one's in testing.

    Of a folder, the first images in the order of their names are taken; DomainBed takes them as the file system lists
    them, so that which images it takes differs from machine to machine.
    """

    recipe: ClassVar[Recipe]

    def open(self, index: int) -> FolderDomain:
        root, name = self._images(), self.metadata.domains[index]
        files: list[str] = []
        labels: list[int] = []
        for cell in self.recipe.cells(index):
            folder = f"{cell.half}/{cell.landscape}/{cell.breed}"
            if not (root / folder).is_dir():
                raise DataError(
                    f"{self.metadata.name}: the folder {root / folder} of domain '{name}' does not exist. Expected "
                    f"layout: {self.metadata.layout}. Move {root} away and type dfdgbench data download {self.metadata.name}."
                )
            found = images_below(root / folder)[: cell.limit]
            files += [f"{folder}/{file}" for file in found]
            labels += [CLASSES.index(cell.breed)] * len(found)
        return FolderDomain(name, root, files, np.array(labels, dtype=np.int64))

    def _images(self) -> Path:
        """``spawrious224/``, or the data folder itself, which is where DomainBed looks."""
        places = (self.root() / FOLDER, self.root())
        for place in places:
            if any((place / "0" / landscape).is_dir() for landscape in self.recipe.train):
                return place
        raise MissingDataError(
            f"{self.metadata.name}: neither {places[0]} nor {places[1]} holds its images. Expected layout: "
            f"{self.metadata.layout}. Type dfdgbench data download {self.metadata.name}."
        )

    @classmethod
    def prepare(cls, staging: Path) -> None:
        bring(staging, FOLDER, ("0", "1"))

    @classmethod
    def strays(cls, data_dir: Path) -> list[str]:
        folder = data_dir / FOLDER
        return sorted({path.name for path in folder.iterdir() if path.is_dir()} - {"0", "1"}) if folder.is_dir() else []


def _metadata(name: str, description: str) -> Metadata:
    return Metadata(
        name=name,
        description=description,
        domains=("Test", "SC_group_1", "SC_group_2"),
        classes=CLASSES,
        counts=(8 * TOTAL, 4 * TOTAL, 4 * TOTAL),
        image_size=224,
        native_size=224,
        checkpoint_freq=100,
        network="resnet50",
        folder=FOLDER,
        licence="not stated",
        citation="Lynch et al. 2023, Spawrious: a benchmark for fine control of spurious correlation biases, arXiv:2303.05470",
        homepage="https://github.com/aengusl/spawrious",
        layout="spawrious224/{0,1}/{beach,desert,dirt,jungle,mountain,snow}/{bulldog,corgi,dachshund,labrador}/IMAGE",
        sources=(
            Source(
                file="spawrious224.tar.gz",
                # DomainBed's, and the authors' own.
                urls=(
                    "https://www.dropbox.com/s/e40j553480h3f3s/spawrious224.tar.gz?dl=1",
                    "https://www.dropbox.com/s/1gkwqut1p735ccn/spawrious224__entire_dataset.tar.gz?dl=1",
                ),
            ),
        ),
    )


def _one_to_one(level: str) -> Metadata:
    return _metadata(f"SpawriousO2O_{level}", f"dogs whose landscape misleads, one landscape a breed, {level}")


def _many_to_many(level: str) -> Metadata:
    return _metadata(f"SpawriousM2M_{level}", f"dogs whose landscape misleads, landscapes shared by breeds, {level}")


@DATASETS.register("SpawriousO2O_easy")
class SpawriousO2OEasy(Spawrious):
    """One landscape a breed, easy."""

    metadata = _one_to_one("easy")
    recipe = Recipe(("desert", "jungle", "dirt", "snow"), ("dirt", "snow", "desert", "jungle"), "beach")


@DATASETS.register("SpawriousO2O_medium")
class SpawriousO2OMedium(Spawrious):
    """One landscape a breed, medium."""

    metadata = _one_to_one("medium")
    recipe = Recipe(("mountain", "beach", "dirt", "jungle"), ("jungle", "dirt", "beach", "snow"), "desert")


@DATASETS.register("SpawriousO2O_hard")
class SpawriousO2OHard(Spawrious):
    """One landscape a breed, hard."""

    metadata = _one_to_one("hard")
    recipe = Recipe(("jungle", "mountain", "snow", "desert"), ("mountain", "snow", "desert", "jungle"), "beach")


@DATASETS.register("SpawriousM2M_easy")
class SpawriousM2MEasy(Spawrious):
    """Landscapes shared by two breeds, easy."""

    metadata = _many_to_many("easy")
    recipe = Recipe(("desert", "mountain", "dirt", "jungle"), ("dirt", "jungle", "mountain", "desert"))


@DATASETS.register("SpawriousM2M_medium")
class SpawriousM2MMedium(Spawrious):
    """Landscapes shared by two breeds, medium."""

    metadata = _many_to_many("medium")
    recipe = Recipe(("beach", "snow", "mountain", "desert"), ("desert", "mountain", "beach", "snow"))


@DATASETS.register("SpawriousM2M_hard")
class SpawriousM2MHard(Spawrious):
    """Landscapes shared by two breeds, hard."""

    metadata = _many_to_many("hard")
    recipe = Recipe(("dirt", "jungle", "snow", "beach"), ("snow", "beach", "dirt", "jungle"))
