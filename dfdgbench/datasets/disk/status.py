"""Which datasets are on disk, and whether they are whole: a row for each domain, never an exception."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dfdgbench.datasets.base import DATASETS, Dataset
from dfdgbench.errors import DfdgbenchError, MissingDataError

State = Literal["ok", "missing", "wrong", "embedded"]


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
    """What was found of one dataset; ``layout`` says where its files belong below the data folder."""

    name: str
    layout: str
    domains: tuple[DomainStatus, ...]

    @property
    def state(self) -> State:
        """``wrong`` where any domain is wrong or only some are missing, else what all domains are."""
        states = Counter(domain.state for domain in self.domains)
        return "wrong" if len(states) > 1 else next(iter(states))

    @property
    def found(self) -> int:
        """Images counted in all domains."""
        return sum(domain.found or 0 for domain in self.domains)


def status(name: str, data_dir: str | Path | None) -> DatasetStatus:
    """What ``data_dir`` holds of the dataset called ``name``. Raises ``UnknownNameError``, and nothing else."""
    dataset = DATASETS.get(name)(data_dir)
    rows = tuple(_domain(dataset, index) for index in range(len(dataset.metadata.domains)))
    return DatasetStatus(name, dataset.metadata.layout, rows)


def status_of_all(data_dir: str | Path | None) -> list[DatasetStatus]:
    """:func:`status` of every registered dataset, in the registry's order."""
    return [status(name, data_dir) for name in DATASETS.names()]


def _domain(dataset: Dataset, index: int) -> DomainStatus:
    metadata = dataset.metadata
    name, expected = metadata.domains[index], metadata.counts[index] if metadata.counts is not None else None
    if not metadata.needs_data_dir:
        return DomainStatus(name, expected, expected, "embedded")
    if dataset.data_dir is None:
        return DomainStatus(name, expected, None, "missing", "No data folder was given. Type --data-dir DIR.")
    if not dataset.data_dir.is_dir():
        return DomainStatus(name, expected, None, "missing", f"The data folder {dataset.data_dir} does not exist.")
    try:
        found = len(dataset.open(index))
    except MissingDataError as error:
        return DomainStatus(name, expected, None, "missing", str(error))
    except DfdgbenchError as error:
        return DomainStatus(name, expected, None, "wrong", str(error))
    if expected is not None and found != expected:
        return DomainStatus(name, expected, found, "wrong", f"{found} images instead of {expected}")
    return DomainStatus(name, expected, found, "ok")
