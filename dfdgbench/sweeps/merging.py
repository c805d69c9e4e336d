"""Sweeps of two machines become one: runs are copied or moved, what is done in both is kept once."""

from __future__ import annotations

import os
import shlex
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dfdgbench.engine import records
from dfdgbench.engine.runfolder import RunFolder
from dfdgbench.errors import ConfigError, listing
from dfdgbench.files import explained, read_json
from dfdgbench.sweeps.folder import SweepFolder, place
from dfdgbench.sweeps.growing import check_protocol, united
from dfdgbench.sweeps.run import SweepRun
from dfdgbench.sweeps.status import Watcher
from dfdgbench.tables.spec import TableSpec


@dataclass
class Merged:
    """How many runs were brought, replaced an unfinished one, and were there already; whose results differ."""

    brought: int = 0
    replaced: int = 0
    kept: int = 0
    differing: tuple[str, ...] = ()


def merge(into: SweepFolder, others: Sequence[SweepFolder], *, move: bool = False) -> Merged:
    """Bring the runs of ``others`` into ``into``. Everything is checked before anything is written.

    Of a run that both have, the one that is done stays, else the one with more to go on from; ``into``'s where they
    are alike. With ``move``, what was brought and what equals ``into``'s is gone from the other sweep.

    Raises:
        ConfigError: the sweeps are not of one table, a folder of the same run holds another one, or a run is under
            way.
    """
    spec = into.spec()
    for other in others:
        _check_apart(into, other)
        spec = _one_table(into, spec, other)
        _check_idle(other)
        for run in other.runs():
            _check_same(into.folder(run), other.folder(run))
    runs: dict[str, SweepRun] = {}
    for sweep in (into, *others):
        table = sweep.spec()
        here = [place(run, table, spec) for run in sweep.runs() if run.run_id not in runs]
        runs |= {run.run_id: run for run in here if run is not None}  # the table has every row by now
    into.unite(spec, list(runs.values()))
    result = Merged()
    for other in others:
        for run in other.runs():
            with explained(into.folder(run).path, f"The run's folder, from {other.path},"):
                _bring(into.folder(run), other.folder(run), result, move)
    return result


def _bring(ours: RunFolder, theirs: RunFolder, result: Merged, move: bool) -> None:
    if not theirs.path.is_dir():
        return
    if not ours.path.is_dir():
        _place(theirs.path, ours.path, move)
        result.brought += 1
    elif _worth(theirs) > _worth(ours):
        if not Watcher().dead(ours.path / "lease"):
            raise ConfigError(
                f"The run {ours.path} is under way and is done in {theirs.path}. Stop it (dfdgbench sweep cancel "
                f"{shlex.quote(str(ours.path.parent.parent))}) and type the same command again."
            )
        aside = ours.path.with_name(f".{ours.path.name}.{uuid.uuid4().hex[:8]}")
        os.rename(ours.path, aside)
        try:
            _place(theirs.path, ours.path, move)
        except BaseException:
            os.rename(aside, ours.path)
            raise
        shutil.rmtree(aside, ignore_errors=True)
        result.replaced += 1
    else:
        result.kept += 1
        if ours.done and theirs.done and _measured(ours) != _measured(theirs):
            result.differing += (ours.path.name,)
        elif move:
            shutil.rmtree(theirs.path)


def _worth(folder: RunFolder) -> tuple[bool, bool, int, bool]:
    """Done and evaluated, done, records, a snapshot: what a run has, the most telling first."""
    return (
        folder.done and not folder.pending.exists(),
        folder.done,
        _text(folder.results).count(b"\n"),
        folder.snapshot.exists(),
    )


def _place(source: Path, target: Path, move: bool) -> None:
    """Copy a run's folder beside and rename it into place, so that a folder that exists is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    with explained(target, "A run's folder"):
        if move and source.stat().st_dev == target.parent.stat().st_dev:
            os.rename(source, target)
            (target / "lease").unlink(missing_ok=True)
            return
        try:
            shutil.copytree(source, beside, ignore=shutil.ignore_patterns("lease", "lease.*"))
            os.rename(beside, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    if move:
        shutil.rmtree(source)


def _check_apart(into: SweepFolder, other: SweepFolder) -> None:
    if into.path.resolve() == other.path.resolve():
        raise ConfigError(f"{other.path} and {into.path} are the same folder. Name another one to merge from.")


def _one_table(into: SweepFolder, ours: TableSpec, other: SweepFolder) -> TableSpec:
    """Our table with the rows and parts that only theirs has."""
    theirs = other.spec()
    if ours.name != theirs.name:
        raise ConfigError(
            f"{other.path} holds the sweep '{theirs.name}', {into.path} the sweep '{ours.name}'. Only copies and parts of one "
            "sweep can be merged."
        )
    known = {row.key: row for row in ours.rows}
    changed = [row.key for row in theirs.rows if known.get(row.key, row) != row]
    if changed:
        raise ConfigError(
            f"{other.path} and {into.path} mean different runs by the rows {listing(changed)}. Give the rows of one of them "
            "other labels, in its table and its sweep.json."
        )
    if ours.grid and theirs.grid:
        return united(theirs, ours)
    missing = [row.key for row in theirs.rows if row.key not in known]
    missing += sorted({part.title for part in theirs.parts} - {part.title for part in ours.parts})
    if missing:
        raise ConfigError(
            f"The table of {into.path} lacks {listing(missing)}, which {other.path} has. Merge the other way round, or launch "
            "one of them again with a table that has all rows."
        )
    check_protocol(theirs, ours)
    return ours.model_copy(update={"trials": max(ours.trials, theirs.trials)})


def _check_idle(other: SweepFolder) -> None:
    watcher = Watcher()
    busy = [run.run_id for run in other.runs() if not watcher.dead(other.folder(run).path / "lease")]
    if busy:
        raise ConfigError(
            f"{len(busy)} run{'s of' if len(busy) > 1 else ' of'} {other.path} {'are' if len(busy) > 1 else 'is'} under way: "
            f"{listing(busy, 5)}. Wait, or type: dfdgbench sweep cancel {shlex.quote(str(other.path))}"
        )


def _check_same(ours: RunFolder, theirs: RunFolder) -> None:
    """Raise where two folders of one name hold runs that differ: their names hash the run, so one was changed by hand."""
    if not (ours.config.exists() and theirs.config.exists()):
        return
    here, there = (read_json(folder.config).get("run", {}) for folder in (ours, theirs))
    if here != there:
        names = sorted(name for name in {**here, **there} if here.get(name) != there.get(name))
        raise ConfigError(
            f"{theirs.path} and {ours.path} hold different runs: they differ in {listing(names)}. Nothing was merged. Remove or "
            "rename the wrong one."
        )


def _measured(folder: RunFolder) -> list[str]:
    """The records' steps and accuracies, as text: times and paths differ between two machines, and NaN equals NaN."""
    return [
        str([(name, record[name]) for name in sorted(record) if name == "step" or name.startswith("env")])
        for record in records.read(folder.results)
    ]


def _text(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
