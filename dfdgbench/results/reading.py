"""Reading runs from disk: our folders and DomainBed's, whatever state they were left in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfdgbench.engine.records import RESULTS
from dfdgbench.errors import ConfigError
from dfdgbench.results.lines import Lines, read_lines
from dfdgbench.results.record import UNKNOWN, Record, facts_of, fault
from dfdgbench.results.scan import CONFIG, DONE, STATUS, SWEEP, scan


@dataclass(frozen=True)
class Run:
    """A run as it was found.

    Attributes:
        name: its folder, below the folder that was read.
        state: "done", what status.json says, "unfinished" where nothing says more, or "planned" for one that has not begun.
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
    root = existing(folder)
    runs = [read_run(Path(found.path), root) for found in scan(root).runs]
    there = {run.name for run in runs}
    runs += [Run(name, root / name, "planned", {}) for name in planned(root) if name not in there]
    if not runs:
        raise nothing(root)
    return runs


def existing(folder: str | Path) -> Path:
    """``folder``, which must be one. Raises ``ConfigError`` where it is none."""
    root = Path(folder)
    if not root.is_dir():
        what = ": it is a file" if root.exists() else ""
        raise ConfigError(
            f"There is no folder {root}{what}. Give the folder of a sweep, or one that holds folders of runs."
        )
    return root


def nothing(root: Path) -> ConfigError:
    """What is said of a folder without a run."""
    return ConfigError(f"No run was found in {root} or below. A run's folder holds {RESULTS} or {CONFIG}.")


def planned(root: Path) -> list[str]:
    """The names of all runs that the sweep in ``root`` has planned; none where it is no sweep's folder."""
    runs = read_object(root / SWEEP).get("runs")
    entries = runs if isinstance(runs, list) else []
    return [f"runs/{entry['id']}" for entry in entries if isinstance(entry, dict) and "id" in entry]


def read_run(folder: Path, root: Path | None = None) -> Run:
    """The run in ``folder``, named by its path below ``root``."""
    config = read_object(folder / CONFIG)
    records, notes = read_records(folder, config)
    places, more = places_of_run(
        [record["args"] for record in records], [record["step"] for record in records], config.get("args")
    )
    kept = tuple(records[place] for place in places)
    return Run(relative(folder, root or folder.parent), folder, state(folder), config, kept, (*notes, *more))


def read_records(folder: str | Path, config: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Every record of a run's file that a table may have a place for, in the file's order; in words, what else was there.

    Args:
        config: of config.json, whose args hold for records that have none.
    """
    try:
        lines = read_lines(f"{folder}/{RESULTS}")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{RESULTS} cannot be read ({error.strerror or error})"]
    return _known(lines, config)


def places_of_run(
    args: Sequence[Mapping[str, Any]], steps: Sequence[int], own: Mapping[str, Any] | None
) -> tuple[list[int], list[str]]:
    """Which records represent a run, one a step in order of the steps, and in words why others do not.

    Where a run was started again in its folder, the later record of a step holds. Records of another run do not count.

    Args:
        args, steps: of every record, in the file's order.
        own: the run's args; None: the first record's.
    """
    if not args:
        return [], []
    first = facts_of(own if own and not fault(own) else args[0])
    known = {id(found): facts_of(found) for found in {id(found): found for found in args}.values()}
    others = [found for found in map(id, args) if known[found] != first]
    by_step: dict[int, int] = {}
    repeated = 0
    for place, step in enumerate(steps):
        if known[id(args[place])] == first:
            repeated += step in by_step
            by_step[step] = place
    notes = []
    if others:
        whose = known[others[0]]
        held_out = "+".join(map(str, whose.test_envs))
        notes.append(
            f"{_count(len(others), 'record')} of another run ({whose.algorithm} on {whose.dataset}, held out {held_out}) left out"
        )
    if repeated:
        notes.append(f"{_count(repeated, 'record')} replaced by a later one of the same step")
    return [by_step[step] for step in sorted(by_step)], notes


def _known(lines: Lines, config: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    kept: list[dict[str, Any]] = []
    faults: dict[str, int] = {}
    checked: dict[int, str] = {}
    for record in lines.records:
        args = record.setdefault("args", config.get("args"))
        if id(args) not in checked:  # mostly one object for all records of a file
            checked[id(args)] = fault(args)
        wrong = checked[id(args)] or ("" if _is_step(record.get("step")) else UNKNOWN)
        if wrong:
            faults[wrong] = faults.get(wrong, 0) + 1
        else:
            kept.append(record)
    unnamed = lines.torn + faults.pop(UNKNOWN, 0)
    notes = [f"{_count(unnamed, 'torn or foreign line')} left out"] if unnamed else []
    notes += [f"{_count(number, 'record')} {wrong} left out" for wrong, number in faults.items()]
    if lines.longest:
        notes.append(f"a line of {lines.longest / 2**20:.0f} MiB left out: no record is that long")
    return kept, notes


def _is_step(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 2**62


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number > 1)}"


def state(folder: Path) -> str:
    """A run's state, as far as its folder tells."""
    if (folder / DONE).exists():
        return "done"
    if not folder.exists():
        return "planned"
    found = str(read_object(folder / STATUS).get("state", "unfinished"))
    return "planned" if found == "waiting" else found


def read_object(path: str | Path) -> dict[str, Any]:
    """The JSON object in ``path``; empty where there is none, or a damaged one."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def relative(folder: str | Path, root: str | Path) -> str:
    """The name of the run in ``folder``: its path below ``root``."""
    path, above = os.fspath(folder), os.fspath(root)
    if path == above:
        return os.path.basename(os.path.abspath(path))
    return path[len(above) :].lstrip(os.sep) if path.startswith(above) else os.path.relpath(path, above)
