"""Getting a dataset: its files are downloaded, unpacked and checked aside, and moved into the data folder when it is whole.

Killed at any instant, the same command goes on: with what has come of a file, with the files that came, or with the last step.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dfdgbench.datasets.base import DATASETS, Dataset
from dfdgbench.datasets.check.extras import not_installed
from dfdgbench.datasets.check.status import DatasetStatus, status
from dfdgbench.datasets.get import archives, room, transfer
from dfdgbench.datasets.get.archives import DamagedArchiveError, is_archive
from dfdgbench.datasets.get.download import download, require_packages
from dfdgbench.datasets.get.workfolder import WorkFolder
from dfdgbench.datasets.metadata import Metadata, Source
from dfdgbench.errors import DataError, MissingDataError, missing_extra

log = logging.getLogger("dfdgbench")

OFFLINE = "DFDGBENCH_OFFLINE"
"""The environment variable that forbids to try the network; any value but 0 does."""


@dataclass(frozen=True)
class Outcome:
    """How it ended: ``embedded`` and ``there`` need nothing, ``built`` was made of what was there.

    Attributes:
        images: images of all domains; None where they were not counted.
    """

    how: Literal["embedded", "there", "built", "downloaded"]
    images: int | None = None


@dataclass(frozen=True)
class Wanted:
    """One file of a dataset, and where it is.

    Attributes:
        at: the file, where it need not be downloaded.
        come: bytes of it that came so far.
    """

    source: Source
    at: Path | None
    come: int


def obtain(name: str, data_dir: str | Path, offline: bool = False, keep: bool = False) -> Outcome:
    """See to it that ``data_dir`` holds the dataset called ``name``, whole.

    What is there already is never changed: domains that are missing are added, and one that is there and wrong is told of.

    Args:
        offline: never try the network; so does the environment variable DFDGBENCH_OFFLINE=1.
        keep: do not remove the downloaded files afterwards.

    Raises:
        DataError: it cannot be had, or what there is of it is wrong; the message says what to do.
        MissingExtraError: reading or downloading it needs a package that is not installed.
    """
    cls, data_dir = DATASETS.get(name), Path(data_dir).expanduser()
    if not cls.metadata.needs_data_dir:
        return Outcome("embedded")
    if package := not_installed(cls.metadata.extra):  # better told now than after hours
        raise missing_extra(package, cls.metadata.extra, f"Reading {name}")
    work = WorkFolder(data_dir, cls.metadata)
    found = status(name, data_dir, opening=True)
    if found.state != "ok" and data_dir.is_dir() and _built(cls, data_dir):
        found = status(name, data_dir, opening=True)
        if found.state == "ok":
            return Outcome("built", found.found)
    if not work.ready.is_dir():  # where it is, only the last step is left
        if found.state == "ok":
            return Outcome("there", found.found)
        _check_obtainable(cls, found, work, offline or os.environ.get(OFFLINE, "0") not in ("", "0"))
    with room.writing(data_dir, f"Downloading {name}"):
        work.downloads.mkdir(parents=True, exist_ok=True)
        with work.lease.waiting(on_wait=lambda owner: log.info("%s", _waiting(name, owner))):
            return _obtain(name, cls, work, keep)


def wanted(metadata: Metadata, data_dir: str | Path) -> list[Wanted]:
    """What downloading a dataset would take, without doing it."""
    work = WorkFolder(Path(data_dir).expanduser(), metadata)
    return [Wanted(source, work.at_hand(source), work.come(source)) for source in metadata.sources]


def _obtain(name: str, cls: type[Dataset], work: WorkFolder, keep: bool) -> Outcome:
    """The work, with the lease held."""
    found = status(name, work.data_dir, opening=True)
    how: Literal["there", "downloaded"] = "downloaded" if found.state != "ok" else "there"
    if found.state != "ok":
        if not work.ready.is_dir():
            _make_ready(name, cls, work)
        work.publish([domain.name for domain in found.domains if domain.state == "ok"])
        found = status(name, work.data_dir, opening=True)
        if found.state != "ok":
            shutil.rmtree(work.ready, ignore_errors=True)
            raise DataError(
                f"{name} was downloaded, and what was missing was added to {work.data_dir}, but it is not whole: "
                f"{_trouble(found)}. Move away or remove what is wrong there, and type the same command again."
            )
    work.clear(keep)
    return Outcome(how, found.found)


def _make_ready(name: str, cls: type[Dataset], work: WorkFolder) -> None:
    _check_room(name, work)
    for source in cls.metadata.sources:
        if work.at_hand(source) is None:
            require_packages(source)
    came = [(source, _file(source, work)) for source in cls.metadata.sources]
    with work.fresh() as staging:
        for source, path in came:
            _unpack(source, path, staging / source.into)
        kept = f" What was downloaded is kept in {work.downloads}: remove it there to download it anew." if came else ""
        try:
            cls.prepare(staging)
            _built(cls, staging, work.data_dir)
        except DataError as error:
            raise DataError(
                f"{name} was downloaded and unpacked, but is not what was expected. {error}{kept}"
            ) from error
        found = status(name, staging, opening=True)
        if found.state != "ok":
            raise DataError(
                f"{name} was downloaded and unpacked, but is not whole: {_trouble(found, staging)}.{kept} If it stays so, its "
                f"publisher has changed it: see {cls.metadata.homepage or 'its home page'}."
            )


def _file(source: Source, work: WorkFolder) -> Path:
    """The file of ``source``: the one in use, or a downloaded one, which is checked."""
    at = work.at_hand(source)
    return at if at is not None and at.parent != work.downloads else download(source, work.downloads)


def _unpack(source: Source, path: Path, target: Path) -> None:
    """Unpack an archive into ``target``; put any other file there."""
    target.mkdir(parents=True, exist_ok=True)
    if not is_archive(source.file):
        try:
            os.link(path, target / source.file)  # takes no room, and the file stays for another try
        except OSError:
            shutil.copyfile(path, target / source.file)
        return
    log.info("Unpacking %s (%s)", path.name, room.size(path.stat().st_size))
    try:
        archives.unpack(path, target)
    except DamagedArchiveError as error:
        aside = path.with_name(f"{path.name}.damaged")
        os.replace(path, aside)
        raise DataError(f"{error} It was laid aside as {aside.name}: type the same command again.") from error


def _built(cls: type[Dataset], data_dir: Path, shown: Path | None = None) -> bool:
    """Whether anything was made of what ``data_dir`` holds; says what, as if it lay in ``shown``."""
    try:
        made = cls.build(data_dir)
    except MissingDataError:
        return False  # which the check of what is missing tells better
    for sentence in made:
        log.info("%s", sentence.replace(str(data_dir), str(shown or data_dir)))
    return bool(made)


def _check_obtainable(cls: type[Dataset], found: DatasetStatus, work: WorkFolder, offline: bool) -> None:
    """Raise what stands against a download before it is begun."""
    metadata, data_dir = cls.metadata, work.data_dir
    if any(domain.state == "wrong" for domain in found.domains):
        raise DataError(
            f"{found.name} in {data_dir / metadata.folder} is not whole, and nothing there is overwritten: {_trouble(found)}. Move "
            "away or remove what is wrong, and type the same command again: what is missing is added."
        )
    if not metadata.sources:
        how = metadata.manual or f"Get it from {metadata.homepage or 'its publisher'}."
        raise DataError(
            f"{found.name} cannot be downloaded by a command. {how}\nIt belongs in {data_dir}: {metadata.layout}\n"
            f"Then type: dfdgbench data status {found.name} --data-dir {data_dir}"
        )
    if offline:
        _check_at_hand(found.name, cls, work)


def _check_at_hand(name: str, cls: type[Dataset], work: WorkFolder) -> None:
    """Raise what would have to be fetched."""
    missing = [source for source in cls.metadata.sources if work.at_hand(source) is None]
    lines = [
        f"  {source.file}{f' ({room.size(source.size)})' if source.size else ''}: "
        + " or ".join(transfer.address(url) for url in source.urls)
        for source in missing
    ]
    if lines:
        raise DataError(
            f"Nothing is fetched, as --offline or {OFFLINE} is given. {name} needs:\n" + "\n".join(lines) + "\n"
            f"Put the files into {work.downloads}, or leave --offline out (unset {OFFLINE}), and type the same command again."
        )


def _check_room(name: str, work: WorkFolder) -> None:
    """Raise where the files to come, and what they unpack to, do not fit: photographs hardly grow by unpacking."""
    every = [(source, work.at_hand(source), work.come(source)) for source in work.metadata.sources]
    to_come = sum(max((source.size or 0) - come, 0) for source, at, come in every if at is None)
    unpacked = sum(
        (at.stat().st_size if at is not None else source.size or 0)
        for source, at, _ in every
        if is_archive(source.file)
    )
    room.need(work.data_dir, to_come + unpacked, f"{name}, downloaded and unpacked,")


def _trouble(found: DatasetStatus, within: Path | None = None) -> str:
    """What is the matter with the first domain that is wrong, or else missing, without what to do; paths as of ``within``."""
    rows = sorted((row for row in found.domains if row.state != "ok"), key=lambda row: row.state != "wrong")
    reason = rows[0].reason.replace(f"{within}{os.sep}", "") if within is not None else rows[0].reason
    sentence = re.split(r"\.\s", reason)[0].rstrip(".")
    return f"domain '{rows[0].name}': {sentence}"


def _waiting(name: str, owner: str) -> str:
    host, process, *_ = [*owner.split(" "), "?", "?"]
    return f"{name} is being downloaded by another process ({process} on {host}). Waiting until it ends."
