"""What stands at the top of a report: states, versions, what each method was allowed to see, and the commands."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfdgbench.errors import listing
from dfdgbench.results.ladder import height
from dfdgbench.results.machines import device, precision
from dfdgbench.results.reading import Run
from dfdgbench.results.record import facts
from dfdgbench.results.report.content import Content, mapping
from dfdgbench.settings import SETTINGS
from dfdgbench.versions import differences

_ORDER = ("done", "trained", "running", "queued", "stopped", "preempted", "planned", "unfinished", "lost", "failed")


@dataclass(frozen=True)
class Access:
    """A setting of the sweep: what it grants, what selection may use, and the methods that are under it."""

    name: str
    title: str
    grants: str
    selection: str
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """A command and what it does."""

    does: str
    line: str


@dataclass(frozen=True)
class Failure:
    """A run that did not end well: the whole of what it said, its log, and the command that goes on with it."""

    number: int
    run: str
    trace: str
    log: str
    command: str


@dataclass(frozen=True)
class Failures:
    """Runs that ended alike: in one state, with one last line."""

    state: str
    message: str
    runs: tuple[Failure, ...]


def states(content: Content) -> list[tuple[str, int]]:
    """How many runs are in which state."""
    counted = Counter(content.states.values())
    known = [(state, counted.pop(state)) for state in _ORDER if state in counted]
    return known + sorted(counted.items())


def code(content: Content) -> list[tuple[str, list[str]]]:
    """Each package, the commit, the devices and the precisions with what the runs say, most runs first."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for run in content.runs:
        for name, value in _facts(run):
            found[name][value] += 1
    return [(name, _counted(values)) for name, values in found.items()]


def settings_of(content: Content) -> dict[str, str]:
    """Name of a run to the name of its setting, as far as its files say it; also by the folder's name alone."""
    found = {run.name: _setting(run) for run in content.runs}
    return {key: name for run, name in found.items() if name for key in (run, Path(run).name)}


def accesses(content: Content, rows: Mapping[str, str]) -> list[Access]:
    """The settings of the runs, from the one that sees the least to the one that sees the most.

    Args:
        rows: name of a run to what its tables call its method.
    """
    methods: dict[str, dict[str, None]] = defaultdict(dict)
    for run in content.runs:
        name = _setting(run)
        if name:
            said = content.said[run.name]
            methods[name][rows.get(run.name) or (said.algorithm if said else run.name)] = None
    known = [setting for setting in sorted(SETTINGS.values(), key=height) if setting.name in methods]
    return [
        Access(
            setting.name,
            setting.title,
            setting.granted(),
            listing(sorted(setting.selection)) or "nothing",
            tuple(methods[setting.name]),
        )
        for setting in known
    ]


def commands(content: Content, out: Path, versions: Mapping[str, Any]) -> tuple[list[Command], list[str]]:
    """What made the sweep and this page, what makes what is missing; and how the code of now differs from the launch's."""
    folder = shlex.quote(str(content.folder))
    found = [Command("the sweep", str(content.sweep["command"]))] if content.sweep.get("command") else []
    found.append(Command("this page", f"dfdgbench report {folder} --out {shlex.quote(str(out))}"))
    if content.sweep:
        for table in content.tables:
            found.append(Command(f"the table '{table.name}'", f"dfdgbench table {shlex.quote(table.name)} {folder}"))
    else:
        found.append(Command("DomainBed's tables", f"dfdgbench collect {folder}"))
    found += [Command("what is missing", table.launch) for table in content.tables if table.launch]
    changed = differences(content.sweep, versions)
    return found, [
        f"The page was made by other code than the sweep was launched by: {listing(changed)}."
    ] if changed else []


def failures(content: Content, numbers: Mapping[str, int]) -> list[Failures]:
    """Runs that failed, were lost or stopped, those that ended alike together, the most frequent end first."""
    wanting = {run.run: run.command for table in content.tables for run in table.missing}
    found: dict[tuple[str, str], list[Failure]] = defaultdict(list)
    for run in content.runs:
        state, status = content.states[run.name], content.status[run.name]
        if state in ("failed", "lost", "stopped", "preempted"):
            trace = str(status.get("traceback") or "").strip()
            message = (trace or str(status.get("error") or "").strip()).split("\n")[-1]
            log = next(
                (run.folder / name for name in ("err.txt", "out.txt") if (run.folder / name).exists()), run.folder
            )
            command = wanting.get(Path(run.name).name, "")
            found[state, message[:2000]].append(Failure(numbers[run.name], run.name, trace[-6000:], str(log), command))
    return [
        Failures(state, message, tuple(runs))
        for (state, message), runs in sorted(found.items(), key=lambda item: -len(item[1]))
    ]


def _facts(run: Run) -> Iterable[tuple[str, str]]:
    for name, version in mapping(run.config.get("versions")).items():
        yield str(name), str(version)
    if run.config.get("git"):
        yield "commit", str(run.config["git"])[:12]
    for name, said in (("device", device(run.config)), ("precision", precision(run.config))):
        if said:
            yield name, said


def _counted(values: Counter[str], most: int = 6) -> list[str]:
    if len(values) == 1:
        return list(values)
    shown = [f"{value} ({count} run{'s' * (count > 1)})" for value, count in values.most_common(most)]
    return shown + [f"{len(values) - most} more"] * (len(values) > most)


def _setting(run: Run) -> str:
    given = run.config.get("setting")
    if given in SETTINGS:
        return str(given)
    return facts(run.records[0]).setting if run.records else ""
