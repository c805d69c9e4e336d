"""Where a dataset that is not found may lie instead."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from dfdgbench.datasets.disk.scan import folders_in
from dfdgbench.datasets.metadata import Metadata
from dfdgbench.errors import DataError


class Elsewhere:
    """The folders in a data folder, listed once for all datasets, hidden ones left out.

    Args:
        data_dir: need not be there.
    """

    def __init__(self, data_dir: str | Path | None) -> None:
        self.data_dir = Path(data_dir).expanduser() if data_dir is not None else None

    @cached_property
    def folders(self) -> dict[str, frozenset[str]]:
        """Each folder's name, and the names of the folders in it."""
        if self.data_dir is None or not self.data_dir.is_dir():
            return {}
        return {name: _inside(self.data_dir / name) for name in _inside(self.data_dir)}

    def instead(self, metadata: Metadata) -> list[str]:
        """Sentences that say where the domains' folders are, where that is not the dataset's own folder."""
        if not metadata.needs_data_dir or not metadata.folder or self.data_dir is None:
            return []
        own = metadata.folder.split("/")[0]
        if _holds(frozenset(self.folders), metadata):
            here = self.data_dir.absolute()
            to = f"Type --data-dir {here.parent}" if here.name == own else f"Move them into a folder {own} there"
            return [f"{self.data_dir} is itself the folder of its domains. {to}."]
        found = [name for name, inside in sorted(self.folders.items()) if name != own and _holds(inside, metadata)]
        return [f"The folder '{name}' holds its domains. Rename it to '{own}'." for name in found[:1]]


def _inside(folder: Path) -> frozenset[str]:
    try:
        return frozenset(folders_in(folder))
    except DataError:
        return frozenset()


def _holds(names: frozenset[str], metadata: Metadata) -> bool:
    """Whether ``names`` are most of a dataset's domains."""
    return len(names & set(metadata.domains)) > len(metadata.domains) / 2 > 0.5
