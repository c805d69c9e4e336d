"""A small dataset of files, as archives and as a class, for what downloads datasets."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from web_server import Web

from dfdgbench.datasets.base import DATASETS, Dataset, Domain, Metadata, Source
from dfdgbench.datasets.domains import folder_domain

DOMAINS, CLASSES, EACH = ("ink", "oil"), ("cat", "dog"), 2
COUNT = len(CLASSES) * EACH


def pictures(*domains: str, below: str = "Toy") -> dict[str, bytes]:
    """Contents of the images of ``domains``, by path."""
    made = {}
    for domain in domains or DOMAINS:
        for shade, name in enumerate(f"{kind}/{number}.png" for kind in CLASSES for number in range(EACH)):
            content = io.BytesIO()
            Image.new("RGB", (2, 2), (shade, DOMAINS.index(domain), 0)).save(content, "png")
            made[f"{below}/{domain}/{name}"] = content.getvalue()
    return made


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return content.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as opened:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            opened.addfile(member, io.BytesIO(data))
    return content.getvalue()


def source(url: str, content: bytes, known: bool = True, **more: Any) -> Source:
    """The source of a file that is served as ``content``."""
    digest, size = (hashlib.sha256(content).hexdigest(), len(content)) if known else ("", None)
    return Source(file=url.rsplit("/", 1)[-1], urls=(url,), sha256=digest, size=size, **more)


def serve(web: Web, name: str, content: bytes, known: bool = True, into: str = "", **how: Any) -> Source:
    """The source of ``content``, which ``web`` serves in the way that ``how`` says."""
    web.serve(name, content, **how)
    return source(web.url(name), content, known, into=into)


class Toy(Dataset):
    """Two domains of two classes of two images."""

    metadata = Metadata(
        name="Toy",
        description="for tests",
        domains=DOMAINS,
        classes=CLASSES,
        counts=(COUNT, COUNT),
        image_size=2,
        folder="Toy",
        layout="Toy/{ink,oil}/{cat,dog}/IMAGE",
        licence="free",
        citation="Nobody 2000",
    )

    def open(self, index: int) -> Domain:
        return folder_domain(self.metadata.domains[index], self.domain_folder(index), self.metadata.classes)


def registered(
    patch: pytest.MonkeyPatch, *sources: Source, base: type[Dataset] = Toy, **metadata: Any
) -> type[Dataset]:
    """``base`` with these sources and other changes, known by its name until the test ends."""
    update = {"sources": sources} | metadata
    made = type(base.__name__, (base,), {"metadata": base.metadata.model_copy(update=update), "__module__": __name__})
    DATASETS.names()  # which registers the package's own
    patch.setitem(DATASETS._found, made.metadata.name, made)
    return made


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write ``files`` below ``folder``."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` that is not the downloader's own, by path."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".dfdgbench" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def work(data: Path, which: str = "downloads") -> list[str]:
    """What is left of Toy's download."""
    folder = data / ".dfdgbench" / which / "Toy"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
