"""Stores: the images of a domain, decoded once into a memory-mapped file that all processes of a machine share.

A store is a folder ``NAME-HASH`` with ``pixels`` (uint8 [N, H, W, C]), ``sizes`` (int32 [N, 2], heights and widths of the files
as they are) and, once it is whole, ``store.json``. While it is built, ``progress`` has a byte for every chunk that is written, so
that a killed build goes on from there. ``readers`` has a mark of every process that reads it. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfdgbench.datasets.domains import FolderDomain, Mask, MaskedDomain
from dfdgbench.datasets.feed import pool
from dfdgbench.datasets.feed.local import Local, local_copy
from dfdgbench.datasets.feed.marks import Mark
from dfdgbench.datasets.feed.pixels import Pixels, plain
from dfdgbench.datasets.feed.split import fingerprint_of
from dfdgbench.datasets.get.room import size
from dfdgbench.datasets.metadata import IGNORED
from dfdgbench.errors import DataError, listing
from dfdgbench.files import write_json
from dfdgbench.leases import Lease

log = logging.getLogger("dfdgbench")
CHUNK = 64  # images; raise FORMAT with it, for a half-built store counts in it
SYNCED = 32
FORMAT = 1
READABLE = 80  # of the 255 characters that a name may have
Progress = Callable[[int, int], None]
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOST = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.EROFS, errno.EIO, errno.ESTALE)


@dataclass(frozen=True)
class Shape:
    """What every item of a store is brought to.

    Attributes:
        content: "image" is shrunk or stretched bilinearly, "photo" bicubically (segmentation's), "mask" to the nearest pixel.
    """

    height: int
    width: int
    content: Literal["image", "photo", "mask"] = "image"

    @property
    def item(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.height, self.width, 1 if self.content == "mask" else 3

    @property
    def bytes(self) -> int:
        """Of one item."""
        return int(np.prod(self.item))


@dataclass(frozen=True, eq=False)
class Store:
    """An open store.

    Attributes:
        pixels: uint8 [N, H, W, C], memory-mapped.
        sizes: int32 [N, 2], heights and widths of the files.
    """

    path: Path
    shape: Shape
    pixels: Pixels
    sizes: NDArray[np.int32]

    @property
    def lossless(self) -> bool:
        """Whether every file had the store's very size, so that nothing was lost."""
        return bool((self.sizes == (self.shape.height, self.shape.width)).all())


def open_store(
    domain: FolderDomain,
    shape: Shape,
    folders: Sequence[Path],
    *,
    dataset: str = "",
    jobs: int = 1,
    progress: Progress | None = None,
    local: Local | None = None,
) -> Store:
    """The store of ``domain``, found in one of ``folders`` or built in the first that can be written.

    Args:
        dataset: what the domain is of, for listings.
        jobs: processes that decode.
        progress: called with the images done and their number.
        local: where a copy of it is read instead, if there can be one.

    Raises:
        DataError: an image cannot be decoded, or the disk has no room.
    """
    path, mark = _marked(lambda: _found_or_built(domain, shape, folders, dataset, jobs, progress or _quiet))
    try:
        copy = local_copy(path, local) if local is not None else None
        if copy is not None:
            mark.release()
            path, mark = copy, Mark(copy)
        store = _opened(path, len(domain), shape)
    except BaseException:
        mark.release()
        raise
    weakref.finalize(store, mark.release)
    return store


def _marked(find: Callable[[], Path]) -> tuple[Path, Mark]:
    """What ``find`` finds, marked as read: whoever is about to remove it sees the mark, or has made it unfit before."""
    while True:
        path = find()
        mark = Mark(path)
        if _whole(path):
            return path, mark
        mark.release()


def _found_or_built(
    domain: FolderDomain, shape: Shape, folders: Sequence[Path], dataset: str, jobs: int, progress: Progress
) -> Path:
    found = find_store(domain, shape, folders)
    if found is not None:
        return found
    path = _writable(folders) / store_name(domain, shape)
    lease = Lease(path.with_suffix(".lease"))
    waiting = lease.waiting(
        lambda: _whole(path), lambda owner: log.info("%s: another process is at work on it (%s)", path, owner)
    )
    with waiting as ours:
        if ours and not _whole(path):
            _build(domain, shape, path, dataset, jobs, progress)
    return path


def find_store(domain: FolderDomain, shape: Shape, folders: Iterable[Path]) -> Path | None:
    """Where the store is, whole; None where it is not."""
    name = store_name(domain, shape)
    return next((folder / name for folder in folders if _whole(folder / name)), None)


def _whole(path: Path) -> bool:
    return (path / "store.json").is_file()


def _quiet(done: int, total: int) -> None:
    return


def store_name(domain: FolderDomain, shape: Shape) -> str:
    """Readable, then a hash of the domain's content and of what is made of it; the same wherever the tree lies."""
    content = [FORMAT, domain.files_digest, asdict(shape)]
    if shape.content == "mask":
        # The same files are other masks to a data set of other classes: the fingerprint tells them apart.
        content = [FORMAT, fingerprint_of(domain), asdict(shape)]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    readable = "".join(c if c.isalnum() and c.isascii() else "-" for c in domain.name[:READABLE])
    return f"{readable}-{shape.content}-{shape.height}x{shape.width}-{digest}"


def _writable(folders: Sequence[Path]) -> Path:
    reasons = []
    for folder in folders:
        try:
            _probe(folder)
        except OSError as error:
            reasons.append(f"{folder} ({error.strerror})")
            continue
        if reasons:
            _tell(reasons[0], folder)
        return folder
    raise DataError(
        f"Decoded images cannot be kept: none of {listing(reasons)} can be written. Type --store-dir DIR with a folder that "
        "can, or --data-path exact, which keeps none."
    )


def _probe(folder: Path) -> None:
    """Write a byte: on a full disk a file can be made and yet not written."""
    probe = folder / f".probe-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        probe.write_bytes(b"0")
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


@lru_cache
def _tell(unwritable: str, used: Path) -> None:  # once, however many stores a dataset has
    log.warning("The folder %s cannot be written; decoded images are kept in %s.", unwritable, used)


def _opened(path: Path, count: int, shape: Shape) -> Store:
    try:
        pixels = np.memmap(path / "pixels", dtype=np.uint8, mode="r", shape=(count, *shape.item))
        sizes = np.fromfile(path / "sizes", dtype=np.int32).reshape(count, 2)
    except PermissionError as error:
        raise DataError(
            f"The store {path} may not be read ({error.strerror}). Give yourself leave to read it: chmod -R a+rX '{path}', or type "
            "--store-dir DIR with a folder of your own."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"The store {path} is damaged ({error}). Remove the folder; it is built anew on the next use."
        ) from error
    return Store(path, shape, np.asarray(pixels), sizes)


# Building ------------------------------------------------------------------------------------------------------------


def _build(domain: FolderDomain, shape: Shape, path: Path, dataset: str, jobs: int, progress: Progress) -> None:
    count = len(domain)
    with _room(path, count * shape.bytes):
        path.mkdir(parents=True, exist_ok=True)
        reserved = {"pixels": count * shape.bytes, "sizes": count * 8}
        if not all(_has(path / name, length) for name, length in reserved.items()):
            (path / "progress").unlink(missing_ok=True)  # what it marks as written is gone
        for name, length in reserved.items():
            _reserve(path / name, length)
        chunks = -(-count // CHUNK)
        (path / "progress").touch()
        with pool.told(), open(path / "progress", "r+b") as file:
            todo = _missing(file, chunks)
            log.info("decoding %d images, once, into %s", min(len(todo) * CHUNK, count), path)
            written: list[int] = []
            for done, chunk in enumerate(_written(jobs, domain, shape, path, todo), start=chunks - len(todo) + 1):
                written.append(chunk)
                if len(written) == SYNCED or done == chunks:
                    _mark(path, file, written)
                progress(min(done * CHUNK, count), count)
        content = {"images": count, "format": FORMAT, "dataset": dataset, "domain": domain.name, **asdict(shape)}
        write_json(path / "store.json", content, "A store")
        (path / "progress").unlink(missing_ok=True)


def _mark(path: Path, file: IO[bytes], written: list[int]) -> None:
    """Chunks count as written when the disk has them, not before: a machine may lose its power too."""
    for name in ("pixels", "sizes"):
        handle = os.open(path / name, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # not every file system knows how to
                os.fsync(handle)
        finally:
            os.close(handle)
    while written:
        os.pwrite(file.fileno(), b"\1", written.pop())


def _missing(file: IO[bytes], chunks: int) -> list[int]:
    file.seek(0)
    marks = file.read().ljust(chunks, b"\0")
    return [chunk for chunk in range(chunks) if marks[chunk] == 0]


def _written(jobs: int, domain: FolderDomain, shape: Shape, path: Path, todo: list[int]) -> Iterator[int]:
    """Have every chunk written; yields their numbers as they are done, and holds only a few in the queue."""
    workers = pool.shared(jobs)
    waiting: dict[int, Future[None]] = {}
    for chunk in todo:
        start = chunk * CHUNK
        part = domain.part(np.arange(start, min(start + CHUNK, len(domain))))
        waiting[chunk] = workers.submit(write_rows, part, start, shape, str(path))
        if len(waiting) > (2 * jobs if jobs > 1 else 0):
            first = next(iter(waiting))
            waiting.pop(first).result()
            yield first
    for number, future in waiting.items():
        future.result()
        yield number


def write_rows(part: FolderDomain, start: int, shape: Shape, path: str) -> None:
    """Decode all of ``part`` into rows ``start``, ``start + 1``, ... of the store at ``path``: a worker process's task."""
    pixels, sizes = items(part, shape)
    for name, content, width in (("pixels", pixels, shape.bytes), ("sizes", sizes, 8)):
        handle = os.open(os.path.join(path, name), os.O_WRONLY)
        try:
            # Written, not mapped: a disk that is full must be an error, not a killed process.
            _write_all(handle, memoryview(content.tobytes()), start * width)
        finally:
            os.close(handle)


def items(part: FolderDomain, shape: Shape) -> tuple[Pixels, NDArray[np.int32]]:
    """Images or masks as a store holds them, uint8 [N, H, W, C], and the sizes of the image files, int32 [N, 2]."""
    pixels = np.empty((len(part), *shape.item), dtype=np.uint8)
    sizes = np.zeros((len(part), 2), dtype=np.int32)
    for row in range(len(part)):
        if shape.content == "mask":
            assert isinstance(part, MaskedDomain)
            pixels[row] = _nearest(part.mask(row), shape) if part.masks[row] else IGNORED
            continue
        image = part.image(row)
        sizes[row] = (image.height, image.width)
        if shape.content == "photo" and image.size != (shape.width, shape.height):
            image = image.resize((shape.width, shape.height), Image.Resampling.BICUBIC)
        pixels[row] = plain(image, shape.height, shape.width)
    return pixels, sizes


def _nearest(mask: Mask, shape: Shape) -> Pixels:
    """The mask's pixel that lies nearest to each pixel's centre."""
    rows = (np.arange(shape.height) + 0.5) * mask.shape[0] / shape.height
    columns = (np.arange(shape.width) + 0.5) * mask.shape[1] / shape.width
    made: Pixels = mask[rows.astype(np.int64)[:, None], columns.astype(np.int64)[None]][..., None]
    return made


def _write_all(handle: int, content: memoryview, offset: int) -> None:
    while content:
        written = os.pwrite(handle, content, offset)
        content, offset = content[written:], offset + written


def _has(path: Path, length: int) -> bool:
    return path.is_file() and path.stat().st_size == length


def _reserve(path: Path, length: int) -> None:
    """A file of ``length`` bytes whose room is taken now, so that a full disk is told of before the work."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if os.fstat(handle).st_size != length:
            os.truncate(handle, 0)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, length)
            else:
                os.truncate(handle, length)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _room(path: Path, needed: int) -> Iterator[None]:
    """Turn a store that cannot be written into a ``DataError``, and leave nothing of one that has no room."""
    try:
        yield
    except OSError as error:
        if error.errno in _LOST:
            raise DataError(
                f"The store {path} cannot be written ({error.strerror}): it is another user's, or was removed or cut off while it "
                "was built. Type the same command again, with --store-dir DIR for another folder, or with --data-path exact, "
                "which keeps none."
            ) from error
        if error.errno not in _FULL:
            raise
        for name in ("pixels", "sizes", "progress"):
            with contextlib.suppress(OSError):
                (path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.rmdir()
        raise DataError(
            f"The decoded images of {path.name} need {size(needed)}, for which {path.parent} has no room "
            f"({error.strerror}). Make room, type --store-dir DIR with another folder, or --data-path exact, which keeps none."
        ) from error
