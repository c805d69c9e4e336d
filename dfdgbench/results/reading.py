"""Reading runs from disk: our folders and DomainBed's, whatever state they were left in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfdgbench.engine.records import RESULTS
from dfdgbench.errors import ConfigError
from dfdgbench.results.record import Record

SWEEP = "sweep.json"
# Any of these makes a folder a run's; DomainBed leaves out.txt before there is a first record.
_MARKS = {RESULTS, "config.json", "status.json", "out.txt"}


@dataclass(frozen=True)
class Run:
    """A run as it was found.

    Attributes:
        name: its folder, below the folder that was read.
        state: "done", what status.json says, "unfinished" where nothing says more, or "absent" for a planned run.
        config: config.json; empty for DomainBed's runs.
        records: one a step, in order of the steps.
        notes: what was odd about its files.
    """

    name: str
    folder: Path
    state: str
    config: Mapping[str, Any]
    records: tuple[Record, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether it has ended well."""
        return self.state == "done"


def read_runs(folder: str | Path) -> list[Run]:
    """Every run at or below ``folder``, in order of the names, and every run that a sweep there has planned.

    Raises:
        ConfigError: there is none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"There is no folder {root}. Give the folder of a sweep, or one that holds folders of runs.")
    folders = run_folders(root)
    runs = [read_run(path, root) for path in folders]
    runs += [Run(_name(path, root), path, "absent", {}) for path in _planned(root) if path not in set(folders)]
    if not runs:
        raise ConfigError(f"No run was found in {root} or below. A run's folder holds {RESULTS} or config.json.")
    return runs


def run_folders(root: Path) -> list[Path]:
    """Folders of runs at or below ``root``; what lies inside one is its own."""
    found = []
    for path, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if _MARKS & set(files) and SWEEP not in files:
            found.append(Path(path))
            folders.clear()
    return found


def read_run(folder: Path, root: Path | None = None) -> Run:
    """The run in ``folder``, named by its path below ``root``."""
    config = read_object(folder / "config.json")
    records, notes = _read_records(folder / RESULTS, config)
    return Run(_name(folder, root or folder.parent), folder, state(folder), config, tuple(records), tuple(notes))


def state(folder: Path) -> str:
    """A run's state, as far as its folder tells."""
    if (folder / "done").exists():
        return "done"
    if not folder.exists():
        return "absent"
    return str(read_object(folder / "status.json").get("state", "unfinished"))


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; empty where there is none, or a damaged one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _name(folder: Path, root: Path) -> str:
    return folder.name if folder == root else folder.relative_to(root).as_posix()


def _planned(root: Path) -> list[Path]:
    planned = read_object(root / SWEEP).get("runs", [])
    return [root / "runs" / entry["id"] for entry in planned]


def _read_records(path: Path, config: Mapping[str, Any]) -> tuple[list[Record], list[str]]:
    """The file's records, one a step: where a run was started again in its folder, the later record holds."""
    if not path.exists():
        return [], []
    by_step: dict[int, Record] = {}
    torn = repeated = 0
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        if not line.strip():
            continue
        record = _parsed(line, config)
        if record is None:
            torn += 1
            continue
        repeated += record["step"] in by_step
        by_step[record["step"]] = record
    notes = [f"{torn} torn or foreign line{'s' * (torn > 1)} left out"] if torn else []
    if repeated:
        notes.append(f"{repeated} record{'s' * (repeated > 1)} replaced by a later one of the same step")
    return [by_step[step] for step in sorted(by_step)], notes


def _parsed(line: str, config: Mapping[str, Any]) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        return None
    args = record.setdefault("args", config.get("args"))
    known = isinstance(args, dict) and {"dataset", "algorithm", "test_envs"} <= args.keys()
    return record if known else None
