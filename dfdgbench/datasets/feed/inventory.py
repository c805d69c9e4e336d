"""Which stores are on disk, of whatever size and content, and removing one that nobody uses."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dfdgbench.datasets.domains import FolderDomain
from dfdgbench.datasets.feed.marks import last_used, readers
from dfdgbench.datasets.feed.store import Shape, store_name
from dfdgbench.errors import ArtifactError, DataError, listing
from dfdgbench.files import read_json
from dfdgbench.leases import Lease

_NAME = re.compile(
    r"(?P<domain>.*)-(?P<content>image|photo|mask)-(?P<height>\d+)x(?P<width>\d+)-[0-9a-f]{16}(?:@[0-9a-f]{8})?"
)


@dataclass(frozen=True)
class Stored:
    """A store on disk.

    Attributes:
        shape: of its items.
        dataset: the one it was built for; "" where that was not written down.
        domain: its name, or what the folder's name has of it.
        images: None where it is half-built.
        bytes: of its files.
        used: when it was last used, seconds since 1970.
    """

    path: Path
    shape: Shape
    dataset: str
    domain: str
    images: int | None
    bytes: int
    used: float

    @property
    def whole(self) -> bool:
        return self.images is not None


def stores_in(folders: Iterable[Path]) -> Iterator[Stored]:
    """Every store in ``folders``, by name; what is no store is passed over."""
    for folder in folders:
        with contextlib.suppress(OSError):
            for path in sorted(folder.iterdir()):
                found = stored(path)
                if found is not None:
                    yield found


def stored(path: Path) -> Stored | None:
    """The store at ``path``; None where there is none."""
    named = _NAME.fullmatch(path.name)
    if named is None or not path.is_dir():
        return None
    shape = Shape(int(named["height"]), int(named["width"]), named["content"])  # type: ignore[arg-type]
    try:
        content = read_json(path / "store.json")
    except (OSError, ArtifactError):
        content = {}
    bytes_ = 0
    for name in ("pixels", "sizes"):
        with contextlib.suppress(OSError):
            bytes_ += (path / name).stat().st_size
    domain = str(content.get("domain", named["domain"]))
    return Stored(path, shape, str(content.get("dataset", "")), domain, content.get("images"), bytes_, last_used(path))


def stores_of(domain: FolderDomain, folders: Iterable[Path]) -> list[Stored]:
    """The stores of ``domain`` as its files are now, whatever their size."""
    return [found for found in stores_in(folders) if found.path.name == store_name(domain, found.shape)]


def remove(path: Path) -> None:
    """Remove the store at ``path``, whole or half-built.

    Raises:
        DataError: another process reads or builds it, or it cannot be removed.
    """
    _refuse_if_read(path)
    lease = Lease(path.with_suffix(".lease"))
    with lease.waiting(_Beating(lease.path)) as ours:
        if not ours:
            raise DataError(
                f"The store {path} is being built ({_owner(lease.path)}). Wait until it is, or stop that process."
            )
        # Out of sight first, so that a stopped removal leaves nothing that looks whole; then a second look: a reader
        # marks a store and looks for store.json afterwards, so that one of the two sees the other.
        mark, aside = path / "store.json", path / ".store.json"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.rename(mark, aside)
            try:
                _refuse_if_read(path)
            except DataError:
                os.rename(aside, mark)
                raise
            shutil.rmtree(path)
        except OSError as error:
            raise DataError(
                f"The store {path} cannot be removed ({error.strerror or error}). It is its owner's to remove."
            ) from error


def _refuse_if_read(path: Path) -> None:
    found = readers(path)
    if found:
        raise DataError(
            f"The store {path} is in use: {listing(found, 5)}. Type the same command again when that has ended; what a killed "
            "process on another machine left behind counts for ten minutes."
        )


class _Beating:
    """Whether the holder of a lease has given a sign of life since it was first looked at."""

    def __init__(self, path: Path) -> None:
        self.path, self.seen = path, ""

    def __call__(self) -> bool:
        now = _text(self.path)
        alive = bool(self.seen) and now not in ("", self.seen)
        self.seen = self.seen or now
        return alive


def _owner(path: Path) -> str:
    host, pid, *_ = [*_text(path).partition("\n")[0].split(" "), "?", "?"]
    return f"process {pid} on {host}"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
