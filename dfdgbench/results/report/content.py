"""What a report shows, read from a folder in whatever state it is."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfdgbench.errors import ArtifactError, ConfigError, UnknownNameError
from dfdgbench.leases import gone
from dfdgbench.results.reading import Run, read_object, read_runs
from dfdgbench.results.record import Facts, facts_of, fault
from dfdgbench.results.report.images import Strip, places, strips
from dfdgbench.results.report.loose import table_of
from dfdgbench.results.table import Table, build
from dfdgbench.tables import spec as specs
from dfdgbench.tables.sweepfile import SWEEP_FILE, read_sweep_file
from dfdgbench.versions import mixed

_UNREADABLE = (ConfigError, ArtifactError, UnknownNameError)


@dataclass(frozen=True)
class Content:
    """Attributes:
    folder: as it was given.
    name, title: the sweep's, or the folder's name twice.
    sweep: sweep.json; empty for a folder that is no sweep's, or whose sweep.json is damaged.
    tables: the sweep's own, then those that show the same runs otherwise.
    states: of every run, by name, in the words of ``sweep status``.
    status: of every run, by name, what status.json says.
    said: of every run, by name, its facts: by its records, else its config.json, else the sweep's plan; None where none says them.
    remarks: what was odd, and what could not be shown.
    """

    folder: Path
    name: str
    title: str
    sweep: Mapping[str, Any]
    tables: tuple[Table, ...]
    runs: tuple[Run, ...]
    states: Mapping[str, str]
    status: Mapping[str, Mapping[str, Any]]
    said: Mapping[str, Facts | None]
    strips: tuple[Strip, ...]
    remarks: tuple[str, ...]


def read(folder: Path, artifacts: Path | None = None) -> Content:
    """Everything in ``folder``.

    Raises:
        ConfigError: there is no run, or ``artifacts`` was given and is not there.
    """
    remarks: list[str] = []
    runs = tuple(read_runs(folder))
    sweep = _sweep(folder, remarks)
    tables = _tables(folder, sweep, runs, remarks)
    status = {run.name: read_object(run.folder / "status.json") for run in runs}
    planned = {entry["id"]: entry["config"] for entry in sweep.get("runs", ())}
    shown, about_images = strips(runs, places(folder, mapping(sweep.get("execution")).get("artifacts"), artifacts))
    remarks += about_images
    differing = mixed([run.config for run in runs])
    remarks += [f"The runs mix versions: {'; '.join(differing)}."] if differing else []
    remarks += [f"{run.name}: {note}." for run in runs for note in run.notes]
    return Content(
        folder=folder,
        name=tables[0].name if sweep else folder.resolve().name,
        title=tables[0].title,
        sweep=sweep,
        tables=tables,
        runs=runs,
        states={run.name: _state(run) for run in runs},
        status=status,
        said={run.name: _said(run, planned.get(run.folder.name)) for run in runs},
        strips=shown,
        remarks=tuple(remarks),
    )


def mapping(given: Any) -> Mapping[str, Any]:
    """``given`` where it is a mapping, else an empty one: what lies on disk need not be what was written."""
    return given if isinstance(given, Mapping) else {}


def _sweep(folder: Path, remarks: list[str]) -> Mapping[str, Any]:
    if not (folder / SWEEP_FILE).exists():
        remarks.append(f"The folder is no sweep's (it has no {SWEEP_FILE}): its runs are laid out by what they say.")
        return {}
    try:
        return read_sweep_file(folder)
    except _UNREADABLE as error:
        remarks.append(f"{error} Until then its runs are laid out by what they say.")
        return {}


def _tables(folder: Path, sweep: Mapping[str, Any], runs: tuple[Run, ...], remarks: list[str]) -> tuple[Table, ...]:
    if sweep:
        try:
            own = build(specs.of_sweep(folder), folder)
            return (own, *_others(folder, own.name, remarks))
        except _UNREADABLE as error:
            name = shlex.quote(str(folder))
            remarks.append(f"The sweep's own table cannot be shown: {error} Try `dfdgbench table NAME {name}`.")
    return (table_of(folder.resolve().name, runs),)


def _others(folder: Path, name: str, remarks: list[str]) -> list[Table]:
    """Built-in tables that show the runs of the sweep ``name`` otherwise."""
    found = []
    for other in specs.names():
        try:
            spec = specs.load(other)
            if name in spec.shows and other != name:
                found.append(build(spec, folder))
        except _UNREADABLE as error:
            remarks.append(f"The table '{other}' cannot be shown: {error}")
    return found


def _said(run: Run, planned: Any) -> Facts | None:
    recorded = [run.records[0]["args"]] if run.records else []
    for args in (*recorded, run.config.get("args"), run.config.get("config"), planned):
        if not fault(args):
            return facts_of(args)
    return None


def _state(run: Run) -> str:
    """The run's state in the words of ``sweep status``; what says it is running has to hold its lease."""
    if run.done and (run.folder / "pending").exists():
        return "trained"
    if run.state == "running" and _lost(run.folder / "lease"):
        return "lost"
    return run.state


def _lost(lease: Path) -> bool:
    try:
        return gone(lease.read_text(errors="replace").split("\n")[0])
    except OSError:
        return True
