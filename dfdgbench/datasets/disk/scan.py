"""Listing folders of images: fast for a million files, in one order everywhere, safe from loops of links."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from dfdgbench.errors import DataError, MissingDataError, listing, near

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})


def images_below(folder: str | Path) -> list[str]:
    """Paths, relative to ``folder`` and with ``/`` between, of all image files below it, in the order of their paths.

    Links are followed, as torchvision's ``ImageFolder`` does. A link that leads back to a folder above it is a ``DataError``.
    """
    found: list[str] = []
    _walk(os.fspath(folder), "", (), found)
    return sorted(found, key=lambda path: path.split("/"))


def _walk(folder: str, prefix: str, above: tuple[tuple[int, int], ...], found: list[str]) -> None:
    state = os.stat(folder)
    here = (state.st_dev, state.st_ino)
    if here in above:
        raise DataError(
            f"The folder {folder} leads back to a folder above it (a loop of symbolic links). Remove the link."
        )
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                found.append(prefix + entry.name)
            elif _is_folder(entry):
                _walk(entry.path, f"{prefix}{entry.name}/", (*above, here), found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        raise DataError(
            f"The folder entry {entry.path} cannot be followed ({error.strerror}). Remove the link."
        ) from error


def folders_in(folder: str | Path) -> list[str]:
    """Names of the folders in ``folder``, sorted, hidden ones left out."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in _visible(entries) if _is_folder(entry))


def _visible(entries: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in entries if not entry.name.startswith("."))


def class_folders(root: Path, domain: str, classes: Sequence[str], absent: Sequence[str] = ()) -> None:
    """Check that the folders in ``root`` are ``classes`` without ``absent``; ``DataError`` names what differs."""
    if not root.is_dir():
        raise MissingDataError(f"The folder {root} of domain '{domain}' does not exist.")
    expected = set(classes) - set(absent)
    found = set(folders_in(root)) - set(absent)
    if found == expected:
        return
    missing, extra = sorted(expected - found), sorted(found - expected)
    parts = [f"missing: {listing(missing)}"] * bool(missing) + [f"not a class: {listing(extra)}"] * bool(extra)
    hints = [f"'{other}' may be '{name}', renamed" for name in missing for other in near(name, extra)[:1]]
    raise DataError(
        f"The class folders in {root} are not those of the dataset ({'; '.join([*parts, *hints])}). "
        "Move away what is too much, and take what is missing from the original download."
    )
