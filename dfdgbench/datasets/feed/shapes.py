"""Which stores a dataset is read through, and where they lie."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from dfdgbench.cache import cache_folder
from dfdgbench.datasets.domains import FolderDomain, MaskedDomain
from dfdgbench.datasets.feed.store import Shape
from dfdgbench.datasets.metadata import Metadata
from dfdgbench.errors import ConfigError

if TYPE_CHECKING:
    from dfdgbench.datasets.base import Dataset

SMALLEST_CROP = 0.7
"""DomainBed's smallest crop as a fraction of the area: a store is just large enough that none need be enlarged."""


def train_side(size: int, native: int | None) -> int:
    """The side of a store that training crops of ``size`` pixels are cut from."""
    largest = math.ceil(size / math.sqrt(SMALLEST_CROP))
    return native if native is not None and native <= largest else largest


def shapes_of(domain: FolderDomain, metadata: Metadata, size: int | list[int] | None = None) -> list[Shape]:
    """The stores that training on and evaluating a domain read, for networks that see ``size`` pixels.

    Args:
        size: a side; of images with masks, height and width; None: the dataset's.

    Raises:
        ConfigError: one where the other is meant.
    """
    if isinstance(domain, MaskedDomain):
        height, width = side_or_sides(size, metadata)
        photo, mask = Shape(height, width, "photo"), Shape(height, width, "mask")
        return [photo, mask] if any(domain.masks) else [photo]
    size, _ = side_or_sides(size, metadata)
    train = train_side(size, metadata.native_size)
    # Where every file has the store's very size nothing was lost, and plain images are made of it too.
    sides = [train] if train in (size, metadata.native_size) else [train, size]
    return [Shape(side, side) for side in sides]


def side_or_sides(given: int | list[int] | None, metadata: Metadata) -> tuple[int, int]:
    """Height and width of the images that networks see, from ``--image-size``. ``ConfigError`` for one number where images
    have a height and a width, and for two where they are square."""
    if given is None:
        return metadata.shape
    if isinstance(given, int) and metadata.task == "segmentation":
        wide = round(given * metadata.shape[1] / metadata.shape[0])
        raise ConfigError(
            f"--image-size {given}: images with masks have a height and a width. Type --image-size {given} {wide} for those of "
            f"{metadata.name}."
        )
    if isinstance(given, int):
        return given, given
    if len(given) != 2:
        raise ConfigError(f"--image-size {' '.join(map(str, given))}: give one number, or a height and a width.")
    if metadata.task != "segmentation":
        raise ConfigError(f"--image-size {given[0]} {given[1]}: images of {metadata.name} are square. Type one number.")
    return given[0], given[1]


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
