"""What is known of a dataset without reading it, as validated types."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dfdgbench.datasets.typed import NAME, NUMBER, Typed
from dfdgbench.errors import ConfigError, listing

Colour = tuple[int, int, int]
IGNORED = 255
"""The value of a mask's pixels that belong to no class."""


class Source(BaseModel):
    """One file to download.

    Attributes:
        file: the name it is kept under.
        urls: where it is, mirrors in the order they are tried; ``drive:ID`` is a file on Google Drive.
        sha256: hex digest, "" where none is known: then the first download's is recorded and shown.
        size: bytes, None where not known.
        into: folder, below the staging folder, into which an archive is unpacked and a plain file is moved; "" is the
            staging folder itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    urls: tuple[str, ...] = Field(min_length=1)
    sha256: str = ""
    size: int | None = Field(default=None, gt=0)
    into: str = ""

    @field_validator("sha256")
    @classmethod
    def _is_digest(cls, value: str) -> str:
        if value and not re.fullmatch("[0-9a-f]{64}", value):
            raise ValueError("a SHA-256 has 64 lower-case hexadecimal digits")
        return value

    @field_validator("urls")
    @classmethod
    def _are_reachable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            if not url.startswith(("https://", "http://", "drive:")):
                raise ValueError(f"'{url}' is neither http(s)://... nor drive:ID")
        return value


class Metadata(BaseModel):
    """Everything that is known of a dataset without reading it. A bad value fails at import.

    ``domains`` are in DomainBed's order, which is the order of the indices in every flag and record key; ``counts``
    (images per domain) are checked when a domain is opened.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = Field(description="one line, shown by `dfdgbench list datasets`")
    task: Literal["classification", "segmentation"] = "classification"
    domains: tuple[str, ...] = Field(min_length=1, description="names, as in folders, records and tables")
    labels: tuple[str, ...] = Field(default=(), description="DomainBed's short names of the domains; default: domains")
    classes: tuple[str, ...] = Field(min_length=2)
    absent: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="classes that a domain was published without"
    )
    counts: tuple[int, ...] | None = Field(default=None, description="images per domain, None where it varies")
    image_size: int = Field(
        gt=0, description="side of the square the networks see, in pixels; of masks' images, height"
    )
    image_width: int | None = Field(default=None, gt=0, description="where images are not square: segmentation")
    native_size: int | None = Field(
        default=None, gt=0, description="side of every image file, where all are that square"
    )
    channels: int = Field(default=3, ge=1, le=3)
    palette: tuple[Colour, ...] = Field(default=(), description="a colour a class, for pictures of masks")
    pairs: tuple[tuple[str, str], ...] = Field(
        default=(), description="published (source, target) domains, where not every other domain is a source"
    )
    hflip: bool = Field(default=True, description="whether a mirrored image keeps its class")
    augment: bool = Field(default=True, description="whether training images are augmented by default")
    small: bool = Field(default=False, description="whether DomainBed's small-image hyper-parameters apply")
    network: str = Field(default="auto", description="the network used where none is named")
    protocol: str = Field(default="domainbed", description="the protocol used where none is named")
    protocols: tuple[str, ...] = Field(default=("domainbed",), description="the protocols this dataset has splits for")
    steps: int = Field(default=5001, gt=0, description="DomainBed's N_STEPS")
    checkpoint_freq: int = Field(default=300, gt=0, description="DomainBed's CHECKPOINT_FREQ, in steps")
    needs_data_dir: bool = True
    extra: str = Field(default="", description="the optional dependencies (pip extra) that reading it needs")
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    folder: str = Field(default="", description="the dataset's own folder below the data folder")
    layout: str = Field(default="", description="where the files are expected below the data folder")
    sources: tuple[Source, ...] = Field(default=(), description="what `dfdgbench data download` gets")
    manual: str = Field(default="", description="how to get it by hand, where a login or a form stands before it")

    @model_validator(mode="after")
    def _agrees(self) -> Metadata:
        for field in ("labels", "counts"):
            value = getattr(self, field)
            if value and len(value) != len(self.domains):
                raise ValueError(f"{self.name}: {len(value)} {field} for {len(self.domains)} domains")
        if self.palette and len(self.palette) != len(self.classes):
            raise ValueError(f"{self.name}: {len(self.palette)} colours for {len(self.classes)} classes")
        if self.protocol not in self.protocols:
            raise ValueError(f"{self.name}: its default protocol '{self.protocol}' is not among its protocols")
        named = {*self.absent, *(domain for pair in self.pairs for domain in pair)}
        if not named <= set(self.domains):
            raise ValueError(f"{self.name}: absent or pairs name no domain: {sorted(named - set(self.domains))}")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width that the networks see."""
        return self.image_size, self.image_width or self.image_size

    def index(self, domain: int | str) -> int:
        """The index of a domain given by index, name or DomainBed's short label; digits from the command line that are
        one domain's index and another's name are a ``ConfigError``."""
        if isinstance(domain, Typed):
            return self._index_typed(domain)
        for names in (self.domains, self.labels):
            if isinstance(domain, str) and domain in names:
                return names.index(domain)
        number = int(domain) if isinstance(domain, int) or domain.isdecimal() else -1
        if not 0 <= number < len(self.domains):
            raise ConfigError(f"{self.name} has no domain '{domain}'. Its domains: {self.numbered()}.")
        return number

    def _index_typed(self, typed: Typed) -> int:
        called = next((names.index(typed.text) for names in (self.domains, self.labels) if typed.text in names), None)
        if called is None:
            return self.index(int(typed))
        if 0 <= typed < len(self.domains) and called != typed:
            raise ConfigError(
                f"'{typed.text}' is two domains of {self.name}: number {typed} is the domain '{self.domains[typed]}', and the "
                f"domain number {called} is called '{self.domains[called]}'. Type {NUMBER}{int(typed)} for "
                f"'{self.domains[typed]}', or {NAME}{typed.text} for the domain called so. Its domains: {self.numbered()}."
            )
        return called

    def numbered(self) -> str:
        """``0 art_painting, 1 cartoon, ...``"""
        return listing(f"{i} {name}" for i, name in enumerate(self.domains))
