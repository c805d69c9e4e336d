"""The two ways a domain is stored: images in memory, or files in a folder."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfdgbench.datasets.base import Domain, Keys, Labels
from dfdgbench.errors import DataError, MissingDataError


class ArrayDomain(Domain):
    """Images held in memory.

    Args:
        images: uint8 [N, H, W, 3].
    """

    def __init__(
        self, name: str, images: NDArray[np.uint8], labels: Labels, parts: dict[str, Keys] | None = None
    ) -> None:
        super().__init__(name, labels, parts)
        self.images = images

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.images[index])

    def fingerprint(self) -> str:
        """SHA-256 of every pixel and label."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).tobytes())
        digest.update(self.labels.tobytes())
        return digest.hexdigest()


def unlabelled(domain: Domain) -> Domain:
    """The same images with every label -1, for readers that may not see labels."""
    blank = copy.copy(domain)
    blank.labels = np.full(len(domain), -1, dtype=np.int64)
    return blank


class FolderDomain(Domain):
    """Image files below one folder.

    Args:
        root: the domain's folder.
        files: paths below ``root``, one an image.
    """

    def __init__(
        self, name: str, root: Path, files: Sequence[str], labels: Labels, parts: dict[str, Keys] | None = None
    ) -> None:
        super().__init__(name, labels, parts)
        self.root, self.files = root, list(files)

    def image(self, index: int) -> Image.Image:
        path = self.root / self.files[index]
        try:
            with Image.open(path) as opened:
                return opened.convert("RGB")
        except FileNotFoundError as error:
            raise DataError(
                f"The image {path} is gone since its folder was listed. See `dfdgbench data status`."
            ) from error
        except (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(
                f"The image {path} cannot be decoded ({error}). Replace it from the original download."
            ) from error

    def fingerprint(self) -> str:
        """SHA-256 of every file's path, size and label. A replaced file of the same size is not noticed; a cut one is."""
        digest = hashlib.sha256()
        for file, label in zip(self.files, self.labels.tolist(), strict=True):
            digest.update(f"{file}\t{(self.root / file).stat().st_size}\t{label}\n".encode())
        return digest.hexdigest()


IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})


def folder_domain(name: str, root: Path, classes: Sequence[str]) -> FolderDomain:
    """A domain from ``root/CLASS/IMAGE``, files sorted within a class as torchvision's ``ImageFolder`` sorts them.

    Missing or additional class folders are a ``DataError``: a stray folder would shift every label.
    """
    if not root.is_dir():
        raise MissingDataError(f"The folder {root} of domain '{name}' does not exist.")
    found = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if found != sorted(classes):
        missing, extra = sorted(set(classes) - set(found)), sorted(set(found) - set(classes))
        parts = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"not a class: {', '.join(extra)}"] * bool(extra)
        raise DataError(f"The class folders in {root} are not those of the dataset ({'; '.join(parts)}).")
    files, labels = [], []
    for label, name_of_class in enumerate(classes):
        below = (path for path in sorted((root / name_of_class).rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES)
        for path in below:
            files.append(path.relative_to(root).as_posix())
            labels.append(label)
    if not files:
        raise DataError(f"The folder {root} of domain '{name}' holds no image.")
    return FolderDomain(name, root, files, np.array(labels, dtype=np.int64))
