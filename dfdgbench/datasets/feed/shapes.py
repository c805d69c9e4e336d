"""Which stores a dataset is read through, and where they lie."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from dfdgbench.cache import cache_folder
from dfdgbench.datasets.domains import FolderDomain, MaskedDomain
from dfdgbench.datasets.feed.store import Shape
from dfdgbench.datasets.metadata import Metadata

if TYPE_CHECKING:
    from dfdgbench.datasets.base import Dataset

SMALLEST_CROP = 0.7
"""DomainBed's smallest crop as a fraction of the area: a store is just large enough that none need be enlarged."""


def train_side(size: int, native: int | None) -> int:
    """The side of a store that training crops of ``size`` pixels are cut from."""
    largest = math.ceil(size / math.sqrt(SMALLEST_CROP))
    return native if native is not None and native <= largest else largest


def shapes_of(domain: FolderDomain, metadata: Metadata, size: int | None = None) -> list[Shape]:
    """The stores that training on and evaluating a domain read, for networks that see ``size`` pixels."""
    if isinstance(domain, MaskedDomain):
        photo, mask = Shape(*metadata.shape, "photo"), Shape(*metadata.shape, "mask")
        return [photo, mask] if any(domain.masks) else [photo]
    size = size or metadata.image_size
    train = train_side(size, metadata.native_size)
    # Where every file has the store's very size nothing was lost, and plain images are made of it too.
    sides = [train] if train in (size, metadata.native_size) else [train, size]
    return [Shape(side, side) for side in sides]


def dataset_label(dataset: Dataset) -> str:
    """What a store remembers it was built for: the dataset's name, of a person's own tree ``folder:PATH``."""
    if dataset.home is None or dataset.metadata.needs_data_dir:
        return dataset.metadata.name
    return f"folder:{dataset.home}"


def store_folders(dataset: Dataset, given: Path | None = None) -> tuple[Path, ...]:
    """Where stores are kept: in ``given``, else with the data, else in the user's cache folder if that cannot be written."""
    if given is not None:
        return (given,)
    with_data = (dataset.home / ".dfdgbench" / "stores",) if dataset.home is not None else ()
    return (*with_data, cache_folder() / "stores")
