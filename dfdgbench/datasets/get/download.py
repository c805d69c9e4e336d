"""One file's download: every mirror in turn, each a few times, and the SHA-256 of what came."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from dfdgbench import files
from dfdgbench.datasets.get import transfer
from dfdgbench.datasets.metadata import Source
from dfdgbench.errors import DataError, missing_extra

log = logging.getLogger("dfdgbench")

RETRIES = 2
"""How often an address is asked again after a cut or a server's error."""
DIGESTS = "sha256.json"
"""The record, in the downloads' folder, of every digest that a file without a published one has come with."""


class WrongContentError(Exception):
    """What came is not the file that is known; it lies aside."""


def download(source: Source, folder: Path) -> Path:
    """``folder/source.file``, from the first mirror that has it; what lies there already is checked and kept.

    Raises:
        DataError: no mirror has it, or what they have is not it; the message names each with its reason.
        MissingExtraError: a package for downloading is not installed.
    """
    path = folder / source.file
    failures: list[str] = []
    if path.is_file():
        try:
            _check(source, path, path)
            return path
        except WrongContentError as error:
            failures.append(f"  {path}: {error}")
    require_packages(source)
    for url in source.urls:
        try:
            _fetch(source, url, path)
            return path
        except Exception as error:
            if not _is_the_mirrors(error):
                raise
            failures.append(f"  {transfer.address(url)}: {transfer.reason(error)}")
    come = any(part.stat().st_size for part in folder.glob(f"{path.name}.*.part"))
    kept = "What has come so far is kept, and gone on from. " if come else ""
    raise DataError(
        f"{source.file} could not be downloaded:\n"
        + "\n".join(failures)
        + f"\n{kept}Type the same command again later, or get "
        f"{source.file} by hand, put it at {path}, and type the same command again."
    )


def require_packages(source: Source) -> None:
    """Raise ``MissingExtraError`` where a package is not installed that downloading ``source`` needs."""
    drive = any(url.startswith(transfer.DRIVE) for url in source.urls)
    for package in ("pooch", "requests", *["gdown"] * drive):
        try:
            __import__(package)
        except ImportError as error:
            raise missing_extra(package, "data", f"Downloading {source.file}") from error


def _is_the_mirrors(error: Exception) -> bool:
    """Whether another mirror may do better."""
    import requests

    return isinstance(error, requests.RequestException | transfer.RefusedError | WrongContentError)


def _fetch(source: Source, url: str, path: Path) -> None:
    """Bring ``source`` from ``url`` to ``path``; pooch asks again and puts it in place."""
    import pooch  # type: ignore[import-untyped]

    pooch.get_logger().setLevel(logging.WARNING)  # what it would tell is told here
    hound = pooch.create(
        path=path.parent, base_url="", registry={path.name: None}, urls={path.name: url}, retry_if_failed=RETRIES
    )
    hound.fetch(path.name, downloader=_Downloader(source, path))


class _Downloader:
    """What pooch calls for each try: goes on with what came before, and hands over a file that has been checked."""

    def __init__(self, source: Source, path: Path) -> None:
        self.source, self.path, self.tries = source, path, 0

    def __call__(self, url: str, output: str, pooch: Any, check_only: bool = False) -> None:
        import requests

        part = transfer.part_of(self.path, url)
        if not self.tries:
            log.info("%s: from %s", self.path.name, transfer.address(url))
        self.tries += 1
        try:
            transfer.transfer(url, part)
        except requests.RequestException as error:
            if self.tries <= RETRIES:
                log.info(
                    "%s: %s. Trying again (%d of %d).", self.path.name, transfer.reason(error), self.tries, RETRIES
                )
            raise
        transfer.mark_of(part).unlink(missing_ok=True)
        _check(self.source, part, self.path)
        os.replace(part, output)


def _check(source: Source, found: Path, path: Path) -> None:
    """Compare ``found`` with the digest known of ``source``, or with those recorded; what is not it is laid aside."""
    digest, size = files.sha256(found), found.stat().st_size
    if source.sha256 and digest != source.sha256:
        aside = path.with_name(f"{path.name}.wrong-{digest[:8]}")
        os.replace(found, aside)
        raise WrongContentError(
            f"its SHA-256 is\n    {digest}, and must be\n    {source.sha256}; it was laid aside as {aside}"
        )
    if source.size is not None and size != source.size:
        log.warning("%s has %d bytes where %d are known of. Going on with it.", path.name, size, source.size)
    if not source.sha256:
        _record(path, digest)


def _record(path: Path, digest: str) -> None:
    """Note the digest of a file of which none is known, and tell where it came with another one before."""
    record = path.with_name(DIGESTS)
    seen: dict[str, list[str]] = files.read_json(record) if record.exists() else {}
    before = seen.get(path.name, [])
    if digest in before:
        return
    if before:
        log.warning(
            "%s is not the file that came before: its SHA-256 is %s and was %s. Its publisher has changed it, or one of the two "
            "is spoilt; results on the two need not agree.", path.name, digest, ", ".join(before),
        )  # fmt: skip
    else:
        log.info("%s: SHA-256 %s; none is published, so it is recorded in %s", path.name, digest, record)
    files.write_json(record, seen | {path.name: [*before, digest]}, "The record of digests")
