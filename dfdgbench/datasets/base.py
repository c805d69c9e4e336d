"""What a dataset is: validated metadata, and domains that hand out images and labels.

A dataset is one file and one class::

    @DATASETS.register("PACS")
    class PACS(Dataset):
        metadata = Metadata(name="PACS", domains=("art_painting", ...), ...)

        def open(self, index): return folder_domain(...)

Nothing is read until a domain is opened, so that plans, listings and ``--help`` work without data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from dfdgbench.datasets.domains import Domain, Keys, Labels
from dfdgbench.datasets.metadata import Metadata, Source
from dfdgbench.errors import DataError, MissingDataError, near
from dfdgbench.registry import Registry, subclass_check

__all__ = ["DATASETS", "Dataset", "Domain", "Keys", "Labels", "Metadata", "Source"]


class Dataset(ABC):
    """A named set of domains that share their classes.

    Args:
        data_dir: folder below which the dataset's own folder lies (``metadata.layout``), as DomainBed's ``--data_dir``.
    """

    metadata: ClassVar[Metadata]
    notices: ClassVar[tuple[str, ...]] = ()  # what a person should know before training on it, in sentences

    def __init__(self, data_dir: str | Path | None = None) -> None:
        self.data_dir = Path(data_dir).expanduser() if data_dir is not None else None
        self._open: dict[int, Domain] = {}

    @abstractmethod
    def open(self, index: int) -> Domain:
        """Read what is needed to hand out domain ``index``. Raises ``DataError`` where it is missing or wrong."""

    def listed(self, index: int) -> int:
        """How many images domain ``index`` has, by listings and headers alone; `dfdgbench data status` asks for nothing more.

        To be overridden where opening a domain decodes its images. Damage that a decoder would find may go unnoticed.

        Raises:
            MissingDataError: the domain is not there.
            DataError: it is there, and wrong in a way that shows.
        """
        return len(self.open(index))

    @classmethod  # noqa: B027  (most archives need nothing)
    def prepare(cls, staging: Path) -> None:
        """Bring what the archives in ``metadata.sources`` held into ``metadata.layout``, within ``staging``.

        Called once after unpacking, before the result is moved into the data folder; a killed one is done anew from
        freshly unpacked archives. Whatever it leaves in ``staging`` lands in the data folder, so it removes what belongs to
        nobody. It moves and removes plain files, and never writes into one: it may be a link to a file of the user's.
        """

    @classmethod
    def build(cls, data_dir: Path) -> list[str]:
        """Make what is derived from other data below ``data_dir``, and say in one sentence each what was made.

        `dfdgbench data download` calls it twice: on the data folder before anything is fetched, so that what is there may
        do, and after ``prepare`` on the staging folder. It makes nothing that is there already, and no half of a file.

        Raises:
            MissingDataError: what it would be made of is not there.
            DataError: that is there, and incomplete or damaged.
        """
        return []

    @classmethod
    def strays(cls, data_dir: Path) -> list[str]:
        """Entries of the dataset's folder that belong to no domain; they are never read, only named."""
        folder = data_dir / cls.metadata.folder
        if not cls.metadata.folder or not folder.is_dir():
            return []
        known = set(cls.metadata.domains)
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name not in known)

    def domain(self, index: int) -> Domain:
        """Domain ``index``, opened once, its image count checked against the metadata."""
        if index not in self._open:
            domain = self.open(index)
            counts = self.metadata.counts
            if counts is not None and len(domain) != counts[index]:
                raise DataError(
                    f"{self.metadata.name}: domain '{domain.name}' has {len(domain)} images, {counts[index]} are expected. "
                    f"Expected layout: {self.metadata.layout}. See `dfdgbench data verify {self.metadata.name}`."
                )
            self._open[index] = domain
        return self._open[index]

    @property
    def home(self) -> Path | None:
        """The folder that the data lies in, beside which what is made of it may be kept; None for data in memory."""
        return self.data_dir if self.metadata.needs_data_dir else None

    def root(self) -> Path:
        """``data_dir``, or the error that says which flag gives it."""
        if self.data_dir is None:
            raise MissingDataError(
                f"{self.metadata.name} is read from disk, and no data folder was given. Type --data-dir DIR, "
                f"with DIR holding {self.metadata.layout}."
            )
        if not self.data_dir.is_dir():
            raise MissingDataError(
                f"The data folder {self.data_dir} does not exist. {self.metadata.name} expects {self.metadata.layout}."
            )
        return self.data_dir

    def domain_folder(self, index: int) -> Path:
        """``root/metadata.folder/NAME`` of domain ``index``, or the error that says what is there instead."""
        name, folder = self.metadata.domains[index], self.root() / self.metadata.folder
        if (folder / name).is_dir():
            return folder / name
        found = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        renamed = [other for other in near(name, found) if other not in self.metadata.domains]
        hint = f"Rename '{renamed[0]}' to '{name}'" if renamed else f"Put the dataset there: {self.metadata.layout}"
        raise MissingDataError(
            f"{self.metadata.name}: the folder {folder / name} of domain '{name}' does not exist. {hint}, or type "
            f"dfdgbench data download {self.metadata.name}."
        )


DATASETS: Registry[type[Dataset]] = Registry(
    "dataset", "dfdgbench.datasets", "dfdgbench.datasets", subclass_check("dataset", Dataset)
)
