"""What a dataset is: validated metadata, and domains that hand out images and labels.

A dataset is one file and one class::

    @DATASETS.register("PACS")
    class PACS(Dataset):
        metadata = Metadata(name="PACS", domains=("art_painting", ...), ...)

        def open(self, index): return FolderDomain(...)

Nothing is read until a domain is opened, so that plans, listings and ``--help`` work without data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dfdgbench.errors import ConfigError, DataError, MissingDataError, listing
from dfdgbench.registry import Registry, subclass_check

Labels = NDArray[np.int64]
Keys = NDArray[np.int64]


class Metadata(BaseModel):
    """Everything that is known of a dataset without reading it. A bad value fails at import.

    ``domains`` are in DomainBed's order, which is the order of the indices in every flag and record key; ``counts``
    (images per domain) are checked when a domain is opened.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = Field(description="one line, shown by `dfdgbench list datasets`")
    domains: tuple[str, ...] = Field(min_length=1, description="names, as in folders, records and tables")
    labels: tuple[str, ...] = Field(default=(), description="DomainBed's short names of the domains; default: domains")
    classes: tuple[str, ...] = Field(min_length=2)
    counts: tuple[int, ...] | None = Field(default=None, description="images per domain, None where it varies")
    image_size: int = Field(gt=0, description="side of the square the networks see, in pixels")
    hflip: bool = Field(default=True, description="whether a mirrored image keeps its class")
    augment: bool = Field(default=True, description="whether training images are augmented by default")
    small: bool = Field(default=False, description="whether DomainBed's small-image hyper-parameters apply")
    network: str = Field(default="auto", description="the network used where none is named")
    protocol: str = Field(default="domainbed")
    steps: int = Field(default=5001, gt=0, description="DomainBed's N_STEPS")
    checkpoint_freq: int = Field(default=300, gt=0, description="DomainBed's CHECKPOINT_FREQ, in steps")
    needs_data_dir: bool = True
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    layout: str = Field(default="", description="where the files are expected below the data folder")

    @model_validator(mode="after")
    def _lengths_agree(self) -> Metadata:
        for field in ("labels", "counts"):
            value = getattr(self, field)
            if value and len(value) != len(self.domains):
                raise ValueError(f"{self.name}: {len(value)} {field} for {len(self.domains)} domains")
        return self

    def index(self, domain: int | str) -> int:
        """The index of a domain given by index, name or DomainBed's short label."""
        for names in (self.domains, self.labels):
            if isinstance(domain, str) and domain in names:
                return names.index(domain)
        number = int(domain) if isinstance(domain, int) or domain.isdigit() else -1
        if not 0 <= number < len(self.domains):
            raise ConfigError(f"{self.name} has no domain '{domain}'. Its domains: {self.numbered()}.")
        return number

    def numbered(self) -> str:
        """``0 art_painting, 1 cartoon, ...``"""
        return listing(f"{i} {name}" for i, name in enumerate(self.domains))


class Domain(ABC):
    """One data distribution: ``len()``, ``labels`` and ``image(i)``.

    Attributes:
        name: the domain's name in its dataset's metadata.
        labels: int64 [N], class indices.
        parts: official parts by name ("train", "test", ...): int64 indices into the domain; empty where there are none.
    """

    def __init__(self, name: str, labels: Labels, parts: dict[str, Keys] | None = None) -> None:
        self.name = name
        self.labels = np.asarray(labels, dtype=np.int64)
        self.parts = parts or {}

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def image(self, index: int) -> Image.Image:
        """Image ``index`` as RGB. A file that cannot be decoded is a ``DataError`` that names it."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digest that changes when the domain's content does; half of what makes a stage's key."""


class Dataset(ABC):
    """A named set of domains that share their classes.

    Args:
        data_dir: folder below which the dataset's own folder lies (``metadata.layout``), as DomainBed's ``--data_dir``.
    """

    metadata: ClassVar[Metadata]

    def __init__(self, data_dir: str | Path | None = None) -> None:
        self.data_dir = Path(data_dir).expanduser() if data_dir is not None else None
        self._open: dict[int, Domain] = {}

    @abstractmethod
    def open(self, index: int) -> Domain:
        """Read what is needed to hand out domain ``index``. Raises ``DataError`` where it is missing or wrong."""

    def domain(self, index: int) -> Domain:
        """Domain ``index``, opened once, its image count checked against the metadata."""
        if index not in self._open:
            domain = self.open(index)
            counts = self.metadata.counts
            if counts is not None and len(domain) != counts[index]:
                raise DataError(
                    f"{self.metadata.name}: domain '{domain.name}' has {len(domain)} images, {counts[index]} are expected. "
                    f"Expected layout: {self.metadata.layout}. See `dfdgbench data status`."
                )
            self._open[index] = domain
        return self._open[index]

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


DATASETS: Registry[type[Dataset]] = Registry(
    "dataset", "dfdgbench.datasets", "dfdgbench.datasets", subclass_check("dataset", Dataset)
)
