"""Copies of stores on a node's own disk, for clusters whose shared file system is slow.

A copy is a folder ``NAME@HASH`` in ``dfdgbench-stores-USER`` below the folder that was given; HASH is of where the store lies.
Beside the store's files it has ``copy.json``: what the store was when it was copied. What does not agree with the store of
today is copied anew. A copy only ever spares time: where there can be none, the store itself is read, and a warning says why.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import IO, Any

from dfdgbench.datasets.get.room import free, size
from dfdgbench.errors import ArtifactError
from dfdgbench.files import read_json, sync_tree, write_json
from dfdgbench.leases import Lease

log = logging.getLogger("dfdgbench")
FILES = ("pixels", "sizes", "store.json")
BLOCK = 1 << 24
SPARE = 1 << 28
"""Bytes that a copy leaves free, for what else a job writes there."""
MIB = 1 << 20
_told: set[str] = set()


@dataclass(frozen=True)
class Local:
    """Where copies go.

    Attributes:
        folder: with variables (``$TMPDIR``) that mean something on the node that reads, not where it was typed.
        progress: called with the MiB copied and their number.
    """

    folder: str
    progress: Callable[[int, int], None] | None = None


class _CannotError(Exception):
    """Why there is no copy."""


def local_copy(store: Path, local: Local) -> Path | None:
    """The copy of the store at ``store``, made if need be; None, after one warning a folder, where there can be none."""
    try:
        return _copied(store, _place(local.folder), local.progress or _quiet)
    except OSError as error:
        reason = f"{error.filename or local.folder}: {error.strerror or error}"
    except (_CannotError, ArtifactError) as error:
        reason = str(error)
    if local.folder not in _told:
        _told.add(local.folder)
        log.warning(
            "Stores are read where they lie, not from copies in --local-dir %s: %s.", local.folder, reason.rstrip(".")
        )
    return None


def expanded(folder: str) -> Path:
    """``folder`` with its variables replaced by this machine's.

    Raises:
        KeyError: a variable is not set, or empty.
        ValueError: a ``$`` that begins no variable.
    """
    there = {name: value for name, value in os.environ.items() if value}
    return Path(Template(folder).substitute(there)).expanduser().absolute()


def _quiet(done: int, total: int) -> None:
    return


def _place(folder: str) -> Path:
    try:
        place = expanded(folder) / f"dfdgbench-stores-{os.getuid()}"
    except KeyError as error:
        raise _CannotError(f"${error.args[0]} is not set on this machine") from error
    except (ValueError, RuntimeError) as error:
        raise _CannotError(str(error)) from error
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if place.stat().st_uid != os.getuid():  # in /tmp, anybody can make a folder of any name
        raise _CannotError(f"{place} is another user's")
    return place


def _copied(store: Path, place: Path, progress: Callable[[int, int], None]) -> Path:
    target = place / f"{store.name}@{hashlib.sha256(os.fsencode(store.parent.resolve())).hexdigest()[:8]}"
    wanted = _stamp(store)

    def there() -> bool:
        return _has(target, wanted)

    if there():
        return target
    lease = Lease(place / f"{target.name}.lease")
    with lease.waiting(there, lambda owner: log.info("%s: another process copies it (%s)", store.name, owner)) as ours:
        if ours and not there():
            _copy(store, target, wanted, progress)
    return target


def _stamp(store: Path) -> dict[str, Any]:
    """What tells a store from one that was built in its place later."""
    states = {name: (store / name).stat() for name in FILES}
    return {
        "bytes": {name: state.st_size for name, state in states.items()},
        "built": states["store.json"].st_mtime_ns,
        "store": read_json(store / "store.json"),
    }


def _has(target: Path, wanted: dict[str, Any]) -> bool:
    """Whether there is a whole copy of the store that is wanted."""
    try:
        sizes = {name: (target / name).stat().st_size for name in FILES}
        return sizes == wanted["bytes"] and bool(read_json(target / "copy.json") == wanted)
    except (OSError, ArtifactError):
        return False


def _copy(store: Path, target: Path, wanted: dict[str, Any], progress: Callable[[int, int], None]) -> None:
    began = time.monotonic()
    part = _beside(target)
    if target.exists():
        os.rename(target, part)  # whoever reads it still keeps its files
    for left in target.parent.glob(f"{target.name}.part-*"):  # of a copy that was killed, too: the lease is ours
        shutil.rmtree(left, ignore_errors=True)
    total = sum(wanted["bytes"].values())
    if total + SPARE > free(target.parent):
        raise _CannotError(
            f"{target.name} needs {size(total)}, and of {size(free(target.parent))} that are free in {target.parent}, "
            f"{size(SPARE)} are left to others"
        )
    part = _beside(target)
    try:
        part.mkdir()
        done = 0
        for name, length in wanted["bytes"].items():
            done = _copy_file(store / name, part / name, length, _Count(done, total, progress))
        if _stamp(store) != wanted:
            raise _CannotError(f"{store} was replaced while it was copied")
        write_json(part / "copy.json", wanted, "A copy of a store")
        sync_tree(part)
        os.rename(part, target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    log.info("%s: copied to %s, %s in %.1f s", store.name, target, size(total), time.monotonic() - began)


def _beside(target: Path) -> Path:
    return target.with_name(f"{target.name}.part-{uuid.uuid4().hex[:8]}")


@dataclass
class _Count:
    """Bytes copied, of all files together."""

    done: int
    total: int
    progress: Callable[[int, int], None]

    def add(self, count: int) -> None:
        self.done += count
        self.progress(self.done // MIB, max(self.total // MIB, 1))


def _copy_file(source: Path, target: Path, length: int, count: _Count) -> int:
    """Copy a file of ``length`` bytes, whose room is taken first; returns the bytes copied so far, of all files."""
    with open(source, "rb", buffering=0) as read, open(target, "wb", buffering=0) as written:
        if length and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(written.fileno(), 0, length)
        left = length
        while left:
            left -= _block(read, written, min(left, BLOCK), count)
        if read.read(1):
            raise _CannotError(f"{source} has grown while it was copied")
    return count.done


def _block(read: IO[bytes], written: IO[bytes], most: int, count: _Count) -> int:
    block = read.read(most)
    if not block:
        raise _CannotError(f"{read.name} is shorter than it was")
    view = memoryview(block)
    while view:
        view = view[written.write(view) :]
    count.add(len(block))
    return len(block)
