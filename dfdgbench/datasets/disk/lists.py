"""Official lists: a text file a part ("train", "test", ...), with a line ``path label`` for each of its images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dfdgbench.datasets.domains import FolderDomain, Keys
from dfdgbench.errors import DataError, listing

WRONG_LABELS = 0.01


@dataclass(frozen=True)
class Lists:
    """How a dataset's lists are named and how they number its classes.

    Attributes:
        names: file name by part, with ``{domain}`` for the domain's name.
        numbers: the label that lists give to each class, in the order of the dataset's classes.
        needed: the parts without which the others are refused.
        folders: where lists are looked for, below the folder that holds the domains.
        hint: what to do where a list names images that are not there.
        slips: known misprints: an image that a list names twice, and the one that is meant the second time.
    """

    names: Mapping[str, str]
    numbers: Sequence[int]
    needed: tuple[str, ...]
    folders: tuple[str, ...] = ("",)
    hint: str = ""
    slips: Mapping[str, str] = field(default_factory=dict)


def read_parts(root: Path, domain: FolderDomain, lists: Lists) -> dict[str, Keys]:
    """Indices into ``domain`` by part, as the lists below ``root`` give them; nothing where there is no list.

    Raises:
        DataError: a list is unreadable, names an image that is not there, or lacks its counterpart.
    """
    names = {part: name.format(domain=domain.name) for part, name in lists.names.items()}
    found = {part: _find(root, name, lists.folders) for part, name in names.items()}
    if not any(found.values()):
        return {}
    missing = [names[part] for part in lists.needed if found[part] is None]
    if missing:
        raise DataError(f"Official lists in {root}: {listing(missing)} is missing. Add it, or remove the other lists.")
    positions = {f"{domain.name}/{file}": key for key, file in enumerate(domain.files)}
    return {part: _read(path, domain, positions, lists) for part, path in found.items() if path is not None}


def refuse_overlap(root: Path, domain: FolderDomain, parts: Mapping[str, Keys], first: str, second: str) -> None:
    """A ``DataError`` where two parts share an image."""
    shared = np.intersect1d(parts[first], parts[second])
    if shared.size:
        raise DataError(
            f"The {first} and {second} lists of '{domain.name}' in {root} overlap ({shared.size} shared, "
            f"{domain.files[int(shared[0])]} among them). Download them again."
        )


def _find(root: Path, name: str, folders: Sequence[str]) -> Path | None:
    found = (root / folder / name for folder in folders)
    return next((path for path in found if path.is_file()), None)


def _read(path: Path, domain: FolderDomain, positions: Mapping[str, int], lists: Lists) -> Keys:
    """Indices into ``domain`` of the images in a list, whose lines are ``domain/class/file label``.

    Classes are those of the folders; the list's labels only tell whether the list belongs to them, and one in a
    hundred may differ, so that a single doubtful entry does not shut out the rest.
    """
    try:
        rows = [line.rsplit(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        files, labels = [file for file, _ in rows], np.array([int(label) for _, label in rows], dtype=np.int64)
    except (OSError, ValueError, OverflowError) as error:
        raise DataError(f"The list {path} does not hold lines 'path label' ({error}). Download it again.") from error
    if not files:
        raise DataError(f"The list {path} is empty. Download it again.")
    files = _mended(files, lists.slips)
    absent = [file for file in files if file not in positions]
    if absent:
        raise DataError(
            f"{len(absent)} of the {len(files)} images in {path} do not exist: {listing(absent, 3)}. {lists.hint}".rstrip()
        )
    if repeated := [file for file, count in Counter(files).items() if count > 1]:
        raise DataError(f"The list {path} names images twice: {listing(repeated, 3)}. Download it again.")
    keys = np.array([positions[file] for file in files], dtype=np.int64)
    different = int((np.asarray(lists.numbers)[domain.labels[keys]] != labels).sum())
    if different > WRONG_LABELS * len(keys):
        raise DataError(
            f"The list {path} gives {different} of {len(keys)} images another class than their folder. "
            f"Labels count from {min(lists.numbers)} in the order of the class names. Download the list again."
        )
    return keys


def _mended(files: Sequence[str], slips: Mapping[str, str]) -> list[str]:
    """``files``, the second mention of each image in ``slips`` replaced by the one that is meant."""
    seen: set[str] = set()
    found = []
    for file in files:
        found.append(slips.get(file, file) if file in seen else file)
        seen.add(file)
    return found
