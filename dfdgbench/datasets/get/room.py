"""Room on the disk, and what is said where there is too little or nothing may be written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dfdgbench.errors import DataError

BLOCK = 4096
"""Bytes that the smallest file takes on most file systems."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def size(count: float) -> str:
    """``512 B``, ``12.3 MiB``"""
    power = min(max(int(count).bit_length() - 1, 0) // 10, 4)
    return f"{count / 1024**power:,.1f} {'KMGT'[power - 1]}iB" if power else f"{count:.0f} B"


def free(path: Path) -> int:
    """Bytes free where ``path`` is, or will be made."""
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def need(path: Path, count: int, what: str) -> None:
    """Check that ``count`` bytes fit where ``path`` is. ``DataError`` says how many are missing."""
    left = free(path)
    if count > left:
        raise DataError(
            f"{what} needs {size(count)}, and {size(left)} are free at {path}. Make room there, or choose another "
            "folder with --data-dir, and type the same command again."
        )


@contextmanager
def writing(path: Path, what: str) -> Iterator[None]:
    """Turn what the file system refuses (a full disk, a folder that may not be written to) into a ``DataError``."""
    try:
        yield
    except OSError as error:
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(path)
        reason = error.strerror or str(error)
        mend = "Mend that"
        if error.errno in _FULL:
            mend = f"{size(free(path))} are free: make room"
        raise DataError(
            f"{what} failed at {where}: {reason}. {mend}, or choose another folder with --data-dir, and type the same command "
            "again; it goes on with what is there."
        ) from error
