"""Listing folders of images: fast for a million files, in one order everywhere, safe from loops of links."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from operator import attrgetter
from pathlib import Path

from dfdgbench.errors import DataError, MissingDataError, listing, near

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
"""Those of torchvision's ``ImageFolder``, which DomainBed reads with: what it leaves out, we leave out."""


class Kind(Enum):
    """What a file is by its name: an image, a link called like an image that leads nowhere, or anything else; and what is no
    file at all (a named pipe, a socket, a device), which to open may take for ever."""

    IMAGE = "image"
    BROKEN = "broken link"
    OTHER = "other"
    NO_FILE = "no file"


def images_below(folder: str | Path) -> list[str]:
    """Paths, relative to ``folder`` and with ``/`` between, of all image files below it, in the order of their paths.

    Links are followed, as torchvision's ``ImageFolder`` does; what is no file is left out. A link that leads nowhere, one that
    leads back to a folder above it, and a folder that cannot be listed are each a ``DataError``.
    """
    found: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for path, kind in files_below(folder):
        found[kind].append(path)
    broken = found[Kind.BROKEN]
    if broken:
        raise DataError(
            f"{len(broken)} of the images below {folder} are links that lead nowhere: {listing(broken, 3)}. "
            "Put back what they lead to, or remove the links."
        )
    return found[Kind.IMAGE]


def holds_image(folder: str | Path) -> bool:
    """Whether there is any image file below ``folder``; stops at the first."""
    return any(kind is Kind.IMAGE for _, kind in files_below(folder))


def files_below(folder: str | Path) -> Iterator[tuple[str, Kind]]:
    """Path, as in :func:`images_below`, and kind of every file below ``folder`` that is not hidden."""
    return _walk(os.fspath(folder), "", ())


def _walk(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, Kind]]:
    with _told(folder):
        state = os.stat(folder)
        with os.scandir(folder) as entries:
            visible = sorted(_visible(entries), key=attrgetter("name"))
    here = (state.st_dev, state.st_ino)
    if here in above:
        raise DataError(
            f"The folder {folder} leads back to a folder above it (a loop of symbolic links). Remove the link."
        )
    for entry in visible:
        # Answered by the listing itself, without a look at the file, for all but links.
        if not entry.is_file(follow_symlinks=False) and _is_folder(entry):
            yield from _walk(entry.path, f"{prefix}{entry.name}/", (*above, here))
        else:
            yield prefix + entry.name, _kind(entry)


def _kind(entry: os.DirEntry[str]) -> Kind:
    is_file = entry.is_file()  # answered by the listing itself, but for links
    if not is_file and os.path.exists(entry.path):
        return Kind.NO_FILE
    if os.path.splitext(entry.name)[1].lower() not in IMAGE_SUFFIXES:
        return Kind.OTHER
    return Kind.IMAGE if is_file else Kind.BROKEN


@contextmanager
def _told(folder: str | Path) -> Iterator[None]:
    """Turn a folder that cannot be listed into a ``DataError`` that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise MissingDataError(f"The folder {folder} does not exist. See `dfdgbench data status`.") from error
    except PermissionError as error:
        raise DataError(
            f"The folder {folder} may not be listed ({error.strerror}). Give yourself leave to read it: "
            f"chmod u+rx '{folder}'"
        ) from error
    except OSError as error:
        raise DataError(
            f"The folder {folder} cannot be listed ({error.strerror or error}). Mend or remove it."
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        raise DataError(
            f"The folder entry {entry.path} cannot be followed ({error.strerror}). Remove the link."
        ) from error


def folders_in(folder: str | Path) -> list[str]:
    """Names of the folders in ``folder``, sorted, hidden ones left out."""
    with _told(folder), os.scandir(folder) as entries:
        return sorted(entry.name for entry in _visible(entries) if _is_folder(entry))


def files_in(folder: str | Path) -> list[str]:
    """Names of what else is in ``folder``, sorted, hidden ones left out."""
    with _told(folder), os.scandir(folder) as entries:
        return sorted(entry.name for entry in _visible(entries) if not _is_folder(entry))


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
