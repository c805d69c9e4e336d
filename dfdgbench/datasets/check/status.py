"""Which datasets are on disk, and whether they are whole: a row for each domain, never an exception."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dfdgbench.datasets.base import DATASETS, Dataset
from dfdgbench.datasets.check.elsewhere import Elsewhere
from dfdgbench.datasets.check.extras import not_installed
from dfdgbench.errors import DfdgbenchError, MissingDataError, listing, missing_extra, near

State = Literal["ok", "missing", "wrong", "embedded"]
Get = Literal["download", "by hand", "nothing to do"]


@dataclass(frozen=True)
class DomainStatus:
    """What was found of one domain.

    Attributes:
        expected: images it should have; None where that is not fixed.
        found: images it has; None where they could not be counted.
        reason: what is the matter; empty where nothing is.
    """

    name: str
    expected: int | None
    found: int | None
    state: State
    reason: str = ""


@dataclass(frozen=True)
class DatasetStatus:
    """What was found of one dataset.

    Attributes:
        layout: where its files belong below the data folder.
        strays: folders of its own folder that belong to no domain, and are not read.
        get: how it is got.
        remarks: sentences on the whole of it: where it may lie instead, what may be a mistake.
    """

    name: str
    layout: str
    domains: tuple[DomainStatus, ...]
    strays: tuple[str, ...] = ()
    get: Get = "nothing to do"
    remarks: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """``wrong`` where any domain is wrong or only some are missing, else what all domains are."""
        states = Counter(domain.state for domain in self.domains)
        return "wrong" if len(states) > 1 else next(iter(states))

    @property
    def found(self) -> int:
        """Images counted in all domains."""
        return sum(domain.found or 0 for domain in self.domains)

    @property
    def expected(self) -> int | None:
        """Images that all domains should have; None where that is not fixed."""
        counts = [domain.expected for domain in self.domains]
        return None if None in counts else sum(count or 0 for count in counts)

    def json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return asdict(self) | {"state": self.state}


def status(name: str, data_dir: str | Path | None, opening: bool = False) -> DatasetStatus:
    """What ``data_dir`` holds of the dataset called ``name``.

    Images are counted, by listing folders and reading the headers of files, and not decoded. Raises ``UnknownNameError``,
    for ``folder:PATH`` what is wrong with that, and nothing else.

    Args:
        opening: open every domain instead, as a run does, so that what is kept in files of arrays is read in full.
    """
    return _status(name, data_dir, Elsewhere(data_dir), opening)


def status_of_all(data_dir: str | Path | None) -> list[DatasetStatus]:
    """:func:`status` of every registered dataset, in the registry's order."""
    elsewhere = Elsewhere(data_dir)
    return [_status(name, data_dir, elsewhere, opening=False) for name in DATASETS.names()]


def _status(name: str, data_dir: str | Path | None, elsewhere: Elsewhere, opening: bool) -> DatasetStatus:
    dataset = DATASETS.get(name)(data_dir)
    metadata = dataset.metadata
    rows = tuple(_domain(dataset, index, opening) for index in range(len(metadata.domains)))
    strays = _strays(dataset) if any(row.state != "missing" for row in rows) else ()
    missing = [row.name for row in rows if row.state == "missing"]
    remarks = list(dataset.notices)
    if len(missing) == len(rows):
        remarks += elsewhere.instead(metadata)
    elif package := not_installed(metadata.extra):
        remarks.append(str(missing_extra(package, metadata.extra, f"Reading {name}")))
    renamed = [f"'{other}' may be '{domain}', renamed" for domain in missing for other in near(domain, strays)[:1]]
    if strays:
        hint = f" ({'; '.join(renamed)})" if renamed else ""
        remarks.append(
            f"The folders {listing(strays, 5)} in {metadata.folder} belong to no domain and are not read{hint}."
        )
    return DatasetStatus(name, metadata.layout, rows, strays, _get(dataset), tuple(remarks))


def _get(dataset: Dataset) -> Get:
    metadata = dataset.metadata
    if not metadata.needs_data_dir:
        return "nothing to do"
    return "download" if metadata.sources else "by hand"


def _strays(dataset: Dataset) -> tuple[str, ...]:
    if dataset.data_dir is None:
        return ()
    try:
        return tuple(dataset.strays(dataset.data_dir))
    except OSError:
        return ()  # of a folder that cannot be listed it is told where its domains are


def _domain(dataset: Dataset, index: int, opening: bool) -> DomainStatus:
    metadata = dataset.metadata
    name, expected = metadata.domains[index], metadata.counts[index] if metadata.counts is not None else None
    if not metadata.layout:
        return DomainStatus(name, expected, expected, "embedded")
    if metadata.needs_data_dir and dataset.data_dir is None:
        return DomainStatus(name, expected, None, "missing", "No data folder was given. Type --data-dir DIR.")
    if dataset.data_dir is not None and metadata.needs_data_dir and not dataset.data_dir.is_dir():
        return DomainStatus(name, expected, None, "missing", f"The data folder {dataset.data_dir} does not exist.")
    try:
        found = len(dataset.open(index)) if opening else dataset.listed(index)
    except MissingDataError as error:
        return DomainStatus(name, expected, None, "missing", str(error))
    except (DfdgbenchError, OSError) as error:
        return DomainStatus(name, expected, None, "wrong", str(error))
    if expected is not None and found != expected:
        return DomainStatus(name, expected, found, "wrong", f"{found} images instead of {expected}")
    return DomainStatus(name, expected, found, "ok")
