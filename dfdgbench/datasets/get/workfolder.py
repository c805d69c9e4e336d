"""Where a download works: below the data folder's ``.dfdgbench``, so that what is done moves into place by a rename.

Datasets that are read from one folder (Digits and DigitsBuilt) share what was downloaded, and take turns.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from dfdgbench import files
from dfdgbench.datasets.get.archives import is_archive
from dfdgbench.datasets.get.transfer import mark_of, part_of
from dfdgbench.datasets.metadata import Metadata, Source
from dfdgbench.leases import Lease

WORK = ".dfdgbench"
JUNK = ("__MACOSX", ".DS_Store")


class WorkFolder:
    """The folders of one dataset's download.

    Attributes:
        downloads: archives, what has come of them, and the record of their digests.
        ready: a dataset that is whole and only has to be moved into the data folder; there while that is not done.
        lease: held by the process that works on it.
    """

    def __init__(self, data_dir: Path, metadata: Metadata) -> None:
        work, name = data_dir / WORK, _as_name(metadata.folder or metadata.name)
        self.data_dir, self.metadata = data_dir, metadata
        self.downloads = work / "downloads" / name
        self.staging = work / "staging" / name
        self.ready = self.staging / f"ready-{_as_name(metadata.name)}"
        self.lease = Lease(work / "leases" / name)

    def at_hand(self, source: Source) -> Path | None:
        """The file of ``source`` where it need not be downloaded: because it was, or lies where it is used already."""
        if (self.downloads / source.file).is_file():
            return self.downloads / source.file
        used = self.data_dir / source.into / source.file
        if is_archive(source.file) or not used.is_file():
            return None
        return used if not source.sha256 or files.sha256(used) == source.sha256 else None

    def come(self, source: Source) -> int:
        """Bytes that have come of a file that is not at hand: the most of any mirror."""
        parts = [part_of(self.downloads / source.file, url) for url in source.urls]
        return max(part.stat().st_size if part.exists() else 0 for part in parts)

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        """An empty folder to unpack into, which becomes ``ready`` where the body succeeds, and is removed where not.

        What processes that were killed left is removed before; the lease is held, so nobody works there.
        """
        for left in self.staging.iterdir() if self.staging.is_dir() else ():
            if not left.name.startswith("ready-"):
                shutil.rmtree(left)
        folder = self.staging / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        try:
            yield folder
            folder.rename(self.ready)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def publish(self, whole: Collection[str]) -> None:
        """Move what is ready into the data folder; nothing there is replaced, and no domain of ``whole`` is touched."""
        keep = {self.data_dir / self.metadata.folder / domain for domain in whole}
        for entry in sorted(self.ready.iterdir()):
            if entry.name not in JUNK:
                _merge(entry, self.data_dir / entry.name, keep)

    def clear(self, keep: bool) -> None:
        """Remove what the download needed; with ``keep``, the files that came stay."""
        for source in self.metadata.sources:
            path = self.downloads / source.file
            for part in (part_of(path, url) for url in source.urls):
                for left in (part, mark_of(part), *part.parent.glob(f"{part.name}*.part")):
                    left.unlink(missing_ok=True)
            if not keep:
                path.unlink(missing_ok=True)
        for left in self.downloads.glob("tmp????????"):  # pooch's, of processes that were killed
            left.unlink()
        shutil.rmtree(self.ready, ignore_errors=True)  # last: while it is there, the rest is done again


def _merge(entry: Path, target: Path, keep: Collection[Path]) -> None:
    """Move ``entry`` to ``target`` by one rename; where both are folders, what the one has and the other has not."""
    if not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        entry.rename(target)
    elif target not in keep and entry.is_dir() and not entry.is_symlink() and target.is_dir():
        for inner in sorted(entry.iterdir()):
            _merge(inner, target / inner.name, keep)


def _as_name(text: str) -> str:
    """``text`` as the name of one file."""
    return re.sub(r"[^\w.-]+", "-", text)
