"""From what an archive unpacked to the folder a dataset is read from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from dfdgbench.errors import DataError, listing

DEPTH = 3


def bring(staging: Path, folder: str, names: Sequence[str]) -> Path:
    """Move the folder that holds the folders ``names`` to ``staging/folder``, whatever it was called and how deep it lay.

    Archives of the same data differ in the folders they put around it (``kfold``, ``OfficeHomeDataset_10072016``, a
    repository's name and branch), so it is told by what it holds. It is looked for ``DEPTH`` levels down, and what lay
    around it is removed.

    Raises:
        DataError: no folder holds all ``names``; the message lists what was unpacked.
    """
    shutil.rmtree(staging / "__MACOSX", ignore_errors=True)  # the shadow files of archives packed on a Mac
    target = staging / folder
    found = next((path for path in _folders(staging, DEPTH) if all((path / name).is_dir() for name in names)), None)
    if found is None:
        seen = listing((path.relative_to(staging).as_posix() for path in _folders(staging, 2) if path != staging), 10)
        raise DataError(
            f"What was downloaded holds no folder with {listing(names)} in it. It holds: {seen or 'no folder'}. "
            f"Download it again, or put the right files into {folder}/ by hand."
        )
    if found == target:
        return target
    # A folder cannot take the place of one it lies in, nor move into itself.
    apart = staging / f".{folder}"
    if found == staging:
        apart.mkdir()
        for name in names:
            (staging / name).rename(apart / name)
    else:
        around = staging / found.relative_to(staging).parts[0]
        found.rename(apart)
        shutil.rmtree(around, ignore_errors=True)
    if target.exists():
        shutil.rmtree(target)
    apart.rename(target)
    return target


def _folders(root: Path, depth: int) -> Iterator[Path]:
    """``root`` and the folders below it, nearest first, in the order of their names; hidden ones are left out."""
    level = [root]
    for _ in range(depth + 1):
        yield from level
        level = [
            path
            for parent in level
            for path in sorted(parent.iterdir())
            if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")
        ]
