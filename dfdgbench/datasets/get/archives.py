"""Unpacking archives that strangers made: nothing lands outside the target, nothing fills the disk, no half is a whole.

What is refused is told with the archive's and the member's name. A file that a reader unpacks itself (``.gz`` or ``.bz2`` of
one file, as MNIST and USPS are published) is no archive here.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from dfdgbench.datasets.get import room
from dfdgbench.datasets.get.bar import Bar
from dfdgbench.errors import DataError

ZIP = ".zip"
TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
GROWTH, ALLOWANCE = 20, 1 << 30
"""An archive may unpack to ``GROWTH`` times its own size and ``ALLOWANCE`` bytes: photographs hardly grow, masks do."""
LONGEST_LINK, LARGEST_HEADER = 4096, 1 << 24
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, struct.error, EOFError, ValueError,
    KeyError, IndexError, OverflowError,
)  # fmt: skip
_DISK = tuple(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "EMFILE", "ENFILE")
)


class DamagedArchiveError(DataError):
    """An archive that is cut short or spoilt: another download may be whole."""


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked rather than taken as it is."""
    return name.lower().endswith((ZIP, *TAR))


def unpack(archive: Path, target: Path, limit: int | None = None) -> None:
    """Unpack ``archive`` into the folder ``target``. Owners, modes and times of the members are not taken over.

    Args:
        limit: bytes that it may unpack to; by default 20 times its own size and 1 GiB.

    Raises:
        DamagedArchiveError: it is cut short, spoilt, or no archive.
        DataError: a member would land outside ``target``, is a device, or there is too much of it.
    """
    size = archive.stat().st_size
    guard = _Guard(archive, target, GROWTH * size + ALLOWANCE if limit is None else limit)
    what = f"Unpacking {archive}"
    with room.writing(target, what), _explained(archive), Bar(f"unpacking {archive.name}", size) as bar:
        target.mkdir(parents=True, exist_ok=True)
        if archive.name.lower().endswith(ZIP):
            _unpack_zip(guard, bar)
        else:
            _unpack_tar(guard, bar)
    guard.check_links()


class _Guard:
    """Says where a member goes, or why it does not.

    Attributes:
        taken: bytes on the disk that the members so far take, whole blocks each.
    """

    def __init__(self, archive: Path, target: Path, limit: int) -> None:
        self.archive, self.target, self.limit = archive, target, limit
        self.root, self.free, self.taken = Path(os.path.realpath(target)), room.free(target), 0
        self.links: list[tuple[str, Path]] = []

    def refuse(self, member: str, why: str) -> DataError:
        """The error for a member that is no data set's."""
        return DataError(
            f"The archive {self.archive} was not unpacked: its member {member!r} {why}. Do not trust this file: remove it, "
            f"get {self.archive.name} from another place and put it there, and type the same command again."
        )

    def place(self, member: str, named: str | None = None) -> Path:
        """The path below the target that ``member`` may be written to; or, of a hard link, that of the file it ``named``."""
        name = member if named is None else named
        what = "" if named is None else f"is a link to {named!r}, which "
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise self.refuse(member, f"{what}would land outside the folder it is unpacked into")
        path = self.target.joinpath(*parts)
        for above in (path, *path.parents):
            if above == self.target:
                break
            if above.is_symlink():
                raise self.refuse(member, f"{what}would be written through a link")
        return path

    def take(self, member: str, size: int) -> None:
        """Count ``size`` more bytes."""
        self.taken += -(-size // room.BLOCK) * room.BLOCK or room.BLOCK
        if self.taken > self.limit:
            raise self.refuse(
                member, f"makes more than {room.size(self.limit)} of {room.size(self.archive.stat().st_size)}"
            )
        if self.taken > self.free:
            raise DataError(
                f"Unpacking {self.archive} needs more than the {room.size(self.free)} that are free at {self.target}. Make "
                "room, or choose another folder with --data-dir, and type the same command again."
            )

    def link(self, member: str, path: Path, leads_to: str) -> None:
        """Check a link at ``path`` before it is made, and remember it: what comes later may turn it outwards."""
        if leads_to.startswith("/") or not self._inside(path.parent / leads_to):
            raise self.refuse(member, f"is a link to {leads_to!r}, outside the folder it is unpacked into")
        self.links.append((member, path))

    def check_links(self) -> None:
        """Check where every link leads now that all is there."""
        for member, path in self.links:
            if not self._inside(path):
                raise self.refuse(member, "is a link that leads outside the folder it is unpacked into")

    def _inside(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self.root)


def _unpack_zip(guard: _Guard, bar: Bar) -> None:
    with zipfile.ZipFile(guard.archive) as opened:
        members = opened.infolist()
        for member in members:
            guard.take(member.filename, member.file_size)
        done = 0
        for member in members:
            _unpack_zip_member(opened, member, guard)
            done += member.compress_size
            bar.to(done)


def _unpack_zip_member(opened: zipfile.ZipFile, member: zipfile.ZipInfo, guard: _Guard) -> None:
    path, kind = guard.place(member.filename), stat.S_IFMT(member.external_attr >> 16)
    if member.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(member) as packed:
        if kind == stat.S_IFLNK:
            leads_to = os.fsdecode(packed.read(LONGEST_LINK))
            guard.link(member.filename, path, leads_to)
            path.symlink_to(leads_to)
        elif kind in (0, stat.S_IFREG):
            with open(path, "wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
        else:
            raise guard.refuse(member.filename, "is a device or a pipe")


def _unpack_tar(guard: _Guard, bar: Bar) -> None:
    with (
        open(guard.archive, "rb") as raw,
        _Tape(_unpacked(raw)) as tape,
        tarfile.open(fileobj=tape, mode="r:") as opened,
    ):
        # Python's own guard, where this version has it, behind the one above.
        opened.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        for member in opened:
            path = _check_tar_member(member, guard)
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            else:
                opened.extract(member, guard.target, set_attrs=False)
            bar.to(raw.tell())
        tape.check_end()


class _Tape(io.BufferedReader):
    """What a tar file holds, unpacked; Python takes a cut or a spoilt header within for the end, which this does not."""

    last = b""

    def read(self, size: int | None = -1, /) -> bytes:
        """Remember what was read last, and read nothing large at once: members come in pieces, and headers are small."""
        if size is None or not 0 <= size <= LARGEST_HEADER:
            raise ValueError(f"a header of {size} bytes")
        self.last = super().read(size)
        return self.last

    def check_end(self) -> None:
        """An archive ends with blocks of zeros, and what it is packed in with a checksum of all of it."""
        if self.last != bytes(tarfile.BLOCKSIZE):
            raise EOFError("its end is missing")
        while self.read(1 << 20):
            pass


def _unpacked(raw: io.BufferedReader) -> Any:
    """A reader of what ``raw`` holds, whatever it is packed with, and whatever its name says."""
    start = raw.peek(6)
    for magic, reader in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if start.startswith(magic):
            return reader(raw, "rb")
    return raw


def _check_tar_member(member: tarfile.TarInfo, guard: _Guard) -> Path:
    path = guard.place(member.name)
    guard.take(member.name, member.size if member.isreg() else 0)
    if member.issym():
        guard.link(member.name, path, member.linkname)
    elif member.islnk():
        guard.place(member.name, member.linkname)
    elif not (member.isreg() or member.isdir()):
        raise guard.refuse(member.name, "is a device or a pipe")
    return path


@contextmanager
def _explained(archive: Path) -> Iterator[None]:
    """Turn whatever a parser raises on a damaged archive into a ``DamagedArchiveError`` that names it."""
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:  # zipfile: another compression, or a password
        raise DataError(
            f"The archive {archive} cannot be unpacked here ({error}). Unpack it by hand, or get it in another form."
        ) from error
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno in _DISK:
            raise
        raise _damaged(archive, error) from error  # a decompressor's, or names that no file system takes


def _damaged(archive: Path, error: Exception) -> DamagedArchiveError:
    with open(archive, "rb") as file:
        start = file.read(64).lstrip().lower()
    state = f"cut short or spoilt ({error or type(error).__name__})"
    if start.startswith((b"<!doctype", b"<html")):
        state = "a web page instead of an archive: what was downloaded is a login or a notice"
    return DamagedArchiveError(f"The archive {archive} is {state}. Download it again.")
