"""What a domain is, and the ways one is stored: images in memory, or files in a folder, with or without masks."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfdgbench.datasets.disk.decode import read_rgb
from dfdgbench.datasets.disk.scan import class_folders, images_below
from dfdgbench.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Self

Labels = NDArray[np.int64]
Keys = NDArray[np.int64]
Mask = NDArray[np.uint8]


class Domain(ABC):
    """One data distribution: ``len()``, ``labels`` and ``image(i)``.

    Attributes:
        name: the domain's name in its dataset's metadata.
        labels: int64 [N], class indices; -1 where an image has none (its labels may be a mask).
        parts: official parts by name ("train", "test", ...): int64 indices into the domain; empty where there are none.
        parts_from: what a person does to have them where they are not there; empty where there are none anywhere.
    """

    parts_from: str = ""

    def __init__(self, name: str, labels: Labels, parts: dict[str, Keys] | None = None) -> None:
        self.name = name
        self.labels = np.asarray(labels, dtype=np.int64)
        self.parts = parts or {}

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def image(self, index: int) -> Image.Image:
        """Image ``index`` as RGB (grey for one channel). A file that cannot be decoded is a ``DataError`` naming it."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digest that changes when the domain's content does and not when it moves; half of a stage's key."""


class ArrayDomain(Domain):
    """Images held in memory.

    Args:
        images: uint8 [N, H, W, C].
    """

    def __init__(
        self, name: str, images: NDArray[np.uint8], labels: Labels, parts: dict[str, Keys] | None = None
    ) -> None:
        super().__init__(name, labels, parts)
        self.images = images

    def image(self, index: int) -> Image.Image:
        image = self.images[index]
        return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)

    def fingerprint(self) -> str:
        """SHA-256 of every pixel and label."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).tobytes())
        digest.update(self.labels.tobytes())
        return digest.hexdigest()


class FolderDomain(Domain):
    """Image files below one folder.

    Args:
        root: the domain's folder.
        files: paths below ``root``, one an image, with ``/`` between folders.
    """

    def __init__(
        self, name: str, root: Path, files: Sequence[str], labels: Labels, parts: dict[str, Keys] | None = None
    ) -> None:
        super().__init__(name, labels, parts)
        self.root, self.files = root, list(files)

    def path(self, index: int) -> str:
        """The file of image ``index``."""
        return os.path.join(self.root, self.files[index])

    def part(self, keys: Keys) -> Self:
        """These images alone, as a domain of its own: little to send to another process."""
        made = copy.copy(self)
        made.__dict__.pop("files_digest", None)
        made.files, made.labels, made.parts = [self.files[key] for key in keys.tolist()], self.labels[keys], {}
        return made

    def image(self, index: int) -> Image.Image:
        return read_rgb(self.path(index))

    @cached_property
    def files_digest(self) -> str:
        """SHA-256 of every image file's path below the folder and size; the labels do not matter."""
        return _digest(self.root, self.files)

    def fingerprint(self) -> str:
        """SHA-256 of every file's path below the folder, size and label.

        A file replaced by another of the same size is not noticed; a cut one is. ``data verify`` reads contents.
        """
        return hashlib.sha256(self.files_digest.encode() + self.labels.tobytes()).hexdigest()


class MaskedDomain(FolderDomain):
    """Image files whose labels are masks of the same scene, in files of their own.

    Args:
        masks: paths below ``root``, one an image; "" where an image has no mask (unlabelled target images).
        read_mask: from a mask's path to class indices uint8 [H, W], 255 for pixels of no class. A mask's size may differ
            from its image's.

    Class attributes:
        in_memory: whether images and masks are made on demand, from no file, so that no store is worth its room.
    """

    in_memory: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        root: Path,
        files: Sequence[str],
        masks: Sequence[str],
        read_mask: Callable[[str], Mask],
        parts: dict[str, Keys] | None = None,
    ) -> None:
        super().__init__(name, root, files, np.full(len(files), -1, dtype=np.int64), parts)
        self.masks, self.read_mask = list(masks), read_mask

    def part(self, keys: Keys) -> Self:
        made = super().part(keys)
        made.masks = [self.masks[key] for key in keys.tolist()]
        return made

    def mask(self, index: int) -> Mask:
        """Class indices uint8 [H, W] of image ``index``, 255 for pixels of no class."""
        if not self.masks[index]:
            raise DataError(f"The image {self.path(index)} of domain '{self.name}' has no mask: it is unlabelled.")
        return self.read_mask(os.path.join(self.root, self.masks[index]))

    def fingerprint(self) -> str:
        """As of the images, and SHA-256 of every mask's path and size and of what they are read by: other classes make
        other masks of the same files."""
        read_by = json.dumps(_reading(self.read_mask))
        return hashlib.sha256((super().fingerprint() + _digest(self.root, self.masks) + read_by).encode()).hexdigest()


def _digest(root: Path, files: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for file in files:
        try:
            size = os.stat(os.path.join(root, file)).st_size if file else 0
        except OSError as error:
            raise DataError(f"The file {os.path.join(root, file)} cannot be looked at ({error.strerror}).") from error
        digest.update(os.fsencode(file) + f"\t{size}\n".encode())
    return digest.hexdigest()


def _reading(given: object) -> object:
    """What masks are read by, in JSON: a function's name, and what it was given, label tables by their content."""
    if isinstance(given, partial):
        options = [*enumerate(given.args), *sorted(given.keywords.items())]
        return [_reading(given.func), [[name, _reading(value)] for name, value in options]]
    if isinstance(given, np.ndarray):
        return [given.dtype.str, given.shape, hashlib.sha256(given.tobytes()).hexdigest()]
    if callable(given):
        named = given if hasattr(given, "__qualname__") else type(given)
        return f"{named.__module__}:{named.__qualname__}"
    return repr(given)


def unlabelled(domain: Domain) -> Domain:
    """The same images with every label -1 and without masks, for readers that may not see labels."""
    blank = copy.copy(domain)
    blank.labels = np.full(len(domain), -1, dtype=np.int64)
    if isinstance(blank, MaskedDomain):
        blank.masks = [""] * len(domain)
    return blank


def folder_domain(name: str, root: Path, classes: Sequence[str], absent: Sequence[str] = ()) -> FolderDomain:
    """A domain from ``root/CLASS/IMAGE``, files sorted within a class as torchvision's ``ImageFolder`` sorts them.

    Missing or additional class folders are a ``DataError``: a stray folder would shift every label.

    Args:
        absent: classes that this domain was published without.
    """
    class_folders(root, name, classes, absent)
    files: list[str] = []
    labels: list[int] = []
    for label, name_of_class in enumerate(classes):
        found = [] if name_of_class in absent else images_below(root / name_of_class)
        files += [f"{name_of_class}/{file}" for file in found]
        labels += [label] * len(found)
    if not files:
        raise DataError(f"The folder {root} of domain '{name}' holds no image.")
    return FolderDomain(name, root, files, np.array(labels, dtype=np.int64))
