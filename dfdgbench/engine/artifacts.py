"""The store of artifacts: folders addressed by the hash of all that decides their content.

An artifact is written beside, synced and renamed into place, so that a folder that exists is whole. Its manifest lists
every file with size and SHA-256; a damaged one is set aside and made anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfdgbench.errors import ArtifactError
from dfdgbench.files import explained, read_json, sha256, sync_tree, write_json
from dfdgbench.leases import Lease

MANIFEST = "artifact.json"


@dataclass(frozen=True)
class Address:
    """Where an artifact lives: its kind, a readable slug and its full key."""

    kind: str
    slug: str
    key: str

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.slug}-{self.key[:16]}"


class Store:
    """A folder of artifacts: ``KIND/SLUG-KEY/``, with ``.work/`` for stages under way and ``.damaged/`` for what was set aside."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        self._verified: set[Path] = set()

    def path(self, address: Address) -> Path:
        """Where the artifact is, or will be."""
        return self.root / address.name

    def work(self, address: Address) -> Path:
        """The folder of the stage under way: its snapshot, its files before they are published."""
        return self.root / ".work" / address.name

    def lease(self, address: Address) -> Lease:
        """The lease on making this artifact."""
        return Lease(self.root / ".work" / f"{address.name}.lease")

    def find(self, address: Address) -> Path | None:
        """The artifact's folder if it is there and undamaged. Raises ``ArtifactError`` where it is damaged."""
        folder = self.path(address)
        if not folder.is_dir():
            return None
        if folder not in self._verified:
            self.verify(folder, address.key)
            self._verified.add(folder)
        return folder

    def verify(self, folder: Path, key: str | None = None) -> dict[str, Any]:
        """Check the manifest and every file; returns the manifest."""
        try:
            manifest: dict[str, Any] = read_json(folder / MANIFEST)
            problem = _difference(folder, manifest, key)
        except FileNotFoundError:
            problem = f"{MANIFEST} is missing"
        except ArtifactError as error:
            problem = str(error)
        if problem:
            raise ArtifactError(f"The artifact {folder} is damaged: {problem}.")
        return manifest

    def set_aside(self, address: Address) -> Path:
        """Move a damaged artifact out of the way; returns where it went."""
        aside = self.root / ".damaged" / f"{address.name}-{uuid.uuid4().hex[:6]}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path(address), aside)
        self._verified.discard(self.path(address))
        return aside

    @contextlib.contextmanager
    def publishing(self, address: Address, manifest: dict[str, Any]) -> Iterator[Path]:
        """A folder to write files into, published as the artifact when the body ends without an error."""
        folder = self.work(address) / f"new-{uuid.uuid4().hex[:8]}"
        final = self.path(address)
        with explained(final, f"The artifact '{address.name}'"):
            folder.mkdir(parents=True)
            try:
                yield folder
                files = {
                    path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
                }
                listed = {name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for name, path in files.items()}
                write_json(folder / MANIFEST, {**manifest, "key": address.key, "files": listed, "created": time.time()})
                sync_tree(folder)
                final.parent.mkdir(parents=True, exist_ok=True)
                self._rename(folder, final)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        (self.work(address) / "snapshot").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another process may be publishing the same
            self.work(address).rmdir()

    @staticmethod
    def _rename(folder: Path, final: Path) -> None:
        try:
            os.rename(folder, final)
        except OSError:
            if not (final / MANIFEST).exists():  # else another process published the same content first
                raise

    def listing(self) -> frozenset[str]:
        """The name (see ``Address``) of every published artifact, by one listing a kind of stage."""
        kinds = [path for path in self.root.glob("[!.]*") if path.is_dir()]
        return frozenset(f"{kind.name}/{name}" for kind in kinds for name in os.listdir(kind))

    def bring(self, folder: Path, key: str) -> bool:
        """Copy the published artifact in another store's ``folder``; returns False where it is here already.

        Raises:
            ArtifactError: it is damaged, or the copy could not be written; nothing half-copied is kept.
        """
        final = self.root / folder.parent.name / folder.name
        if (final / MANIFEST).exists():
            return False
        beside = self.root / ".work" / folder.parent.name / f"copy-{uuid.uuid4().hex[:8]}"
        with explained(final, f"The artifact '{folder.name}'"):
            try:
                shutil.copytree(folder, beside)
                self.verify(beside, key)
                sync_tree(beside)
                final.parent.mkdir(parents=True, exist_ok=True)
                self._rename(beside, final)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
                with contextlib.suppress(OSError):  # a stage is under way there
                    beside.parent.rmdir()
                    beside.parent.parent.rmdir()
        return True

    def entries(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Folder and manifest of every published artifact."""
        for manifest in sorted(self.root.glob(f"[!.]*/*/{MANIFEST}")):
            with contextlib.suppress(ArtifactError, OSError):
                yield manifest.parent, read_json(manifest)


def size(folder: Path) -> int:
    """Bytes below ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _difference(folder: Path, manifest: dict[str, Any], key: str | None) -> str:
    """What is wrong with an artifact's files, or nothing."""
    if key is not None and manifest.get("key") != key:
        return f"its manifest is of the key {manifest.get('key')}"
    for name, listed in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != listed["bytes"]:
            return f"{name} has {path.stat().st_size} bytes, {listed['bytes']} were written"
        if sha256(path) != listed["sha256"]:
            return f"the content of {name} has changed since it was written"
    return ""
