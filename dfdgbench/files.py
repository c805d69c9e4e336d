"""Writing files so that a killed process or a full disk never leaves half of one behind."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dfdgbench.errors import ArtifactError

# Errors of the file system that a person mends (a full disk, a quota, a read-only mount), not bugs. NumPy tells of
# a file that it could not write whole without a number.
_MENDABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EFBIG,
    errno.EIO,
    errno.ENOENT,
    errno.ENOTDIR,
    None,
}


@contextlib.contextmanager
def explained(path: Path, what: str) -> Iterator[None]:
    """Turn a full disk, an exceeded quota and the like into an ``ArtifactError`` that names ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        free = _free(path)
        raise ArtifactError(
            f"{what} could not be written to {path}: {error.strerror or error}{free}. Nothing half-written was kept; make room "
            "(`dfdgbench artifacts gc`) or choose another folder, and type the same command again."
        ) from error


def _free(path: Path) -> str:
    folder = next((parent for parent in (path, *path.parents) if parent.exists()), None)
    if folder is None:
        return ""
    with contextlib.suppress(OSError):
        return f" ({shutil.disk_usage(folder).free / 2**20:.0f} MiB free)"
    return ""


def write_bytes(path: Path, content: bytes, what: str = "A file") -> None:
    """Replace ``path`` by ``content`` in one step: written beside, synced, renamed."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with explained(path, what):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(beside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def write_json(path: Path, content: Any, what: str = "A file", sort_keys: bool = True) -> None:
    """:func:`write_bytes` of indented JSON; ``sort_keys=False`` where the order of keys means something."""
    write_bytes(path, (json.dumps(content, indent=2, sort_keys=sort_keys) + "\n").encode(), what)


def read_json(path: Path) -> Any:
    """The JSON in ``path``; ``ArtifactError`` where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"The file {path} is damaged ({error}). Remove it and type the same command again."
        ) from error


def sync_tree(folder: Path) -> None:
    """Flush every file below ``folder``, and the folder itself, to the disk."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):
                os.fsync(handle)
        finally:
            os.close(handle)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
