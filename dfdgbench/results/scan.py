"""Where the runs below a folder are, and what of their files says whether they have changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dfdgbench.engine.records import RESULTS

SWEEP = "sweep.json"
CONFIG, STATUS, DONE = "config.json", "status.json", "done"
# Any of these makes a folder a run's; DomainBed leaves out.txt before there is a first record.
_MARKS = {RESULTS, CONFIG, STATUS, "out.txt"}
_WATCHED = (RESULTS, DONE, STATUS, CONFIG)

Signature = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True)
class Found:
    """A run's folder.

    Attributes:
        path: as text, which for thousands is faster than a ``Path``.
        signature: size and time of change (ns) of each file that results are read from; None where it is not there.
    """

    path: str
    signature: Signature

    @property
    def done(self) -> bool:
        """Whether the run has ended well."""
        return self.signature[_WATCHED.index(DONE)] is not None

    @property
    def has_config(self) -> bool:
        return self.signature[_WATCHED.index(CONFIG)] is not None

    @property
    def newest(self) -> int:
        """When the last of its files was changed (ns)."""
        return max((entry[1] for entry in self.signature if entry is not None), default=0)


@dataclass
class Scan:
    """Attributes:
    runs: every run's folder, in order of the paths; what lies inside one is its own.
    notes: folders that could not be read.
    """

    runs: list[Found] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def scan(root: str | Path) -> Scan:
    """The folders of runs at or below ``root``."""
    found = Scan()
    for item in _walk(os.fspath(root)):
        if isinstance(item, Found):
            found.runs.append(item)
        else:
            found.notes.append(item)
    return found


def _walk(path: str) -> Iterator[Found | str]:
    try:
        with os.scandir(path) as listed:
            entries = {entry.name: entry for entry in listed}
    except OSError as error:
        yield f"{path} cannot be read ({error.strerror or error}); what is in it is left out"
        return
    if _MARKS & entries.keys() and SWEEP not in entries:
        yield Found(path, tuple(_stat(os.path.join(path, name)) if name in entries else None for name in _WATCHED))
        return
    for name in sorted(entries):
        if not name.startswith(".") and entries[name].is_dir(follow_symlinks=True) and not entries[name].is_symlink():
            yield from _walk(entries[name].path)


def _stat(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
