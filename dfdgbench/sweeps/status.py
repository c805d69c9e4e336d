"""How far a sweep is, read from its folder alone: no launcher is asked, nothing heavy is imported.

A run is one of :data:`STATES`. `done` is a file, the rest is what status.json says, except that a run which says it is
running has to hold its lease: where the holder is gone it is `lost`. Clocks of machines differ, so that no time
stamp decides that; see :class:`Watcher`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfdgbench.errors import ConfigError, UnknownNameError, listing, near
from dfdgbench.leases import gone
from dfdgbench.sweeps.processes import held_here
from dfdgbench.tables.sweepfile import read_sweep_file
from dfdgbench.versions import mixed

STATES = {
    "failed": "ended with an error",
    "lost": "its process is gone without a word",
    "running": "under way",
    "stopped": "asked to stop, after a snapshot",
    "preempted": "stopped by a scheduler, which will go on with it",
    "queued": "a scheduler has it",
    "trained": "done, but for evaluation on data that was not there",
    "planned": "not begun",
    "done": "done",
}
STALE = 60.0
"""Seconds without a heartbeat after which a lease is taken for dead, as in ``leases.Lease``."""


@dataclass
class RunStatus:
    """A run as its folder tells.

    Attributes:
        number: its place in sweep.json, from 1.
        step, steps, rate, left: of the stage under way: steps, steps a second, seconds.
        seconds: what a finished run took.
        error, log: of what failed or was lost: the last line, and the file that says more.
    """

    number: int
    run: str
    algorithm: str
    dataset: str
    state: str
    stage: str = ""
    step: int | None = None
    steps: int | None = None
    rate: float | None = None
    left: float | None = None
    seconds: float | None = None
    host: str = ""
    error: str = ""
    log: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more will come by itself."""
        return self.state in ("done", "failed", "trained")


@dataclass
class Watcher:
    """Tells dead leases from living ones by watching them on this machine's own monotonic clock.

    A holder on this machine that has ended is seen at once. Of one elsewhere, only a heartbeat that stays away while
    the watcher looks says that it is dead; a watcher that looks once calls none dead.
    """

    stale: float = STALE
    _seen: dict[Path, tuple[str, float]] = field(default_factory=dict)

    def dead(self, lease: Path) -> bool:
        """Whether nobody holds ``lease``."""
        try:
            text = lease.read_text(errors="replace")
        except OSError:
            return True
        if gone(text.split("\n")[0]):
            return True
        before, since = self._seen.get(lease, (None, 0.0))
        if before != text:
            self._seen[lease] = (text, time.monotonic())
            return False
        return time.monotonic() - since > self.stale


@dataclass
class SweepStatus:
    """Every run of a sweep, and what can be said of all of them.

    Attributes:
        mixed: versions of code and packages in which runs differ.
        jobs: a line about the jobs of each scheduler that has some.
    """

    path: Path
    name: str
    runs: list[RunStatus]
    mixed: list[str]
    jobs: list[str] = field(default_factory=list)

    def states(self) -> dict[str, int]:
        """How many runs are in which state, in the order of :data:`STATES`; those of no run are left out."""
        counted = Counter(run.state for run in self.runs)
        return {state: counted[state] for state in STATES if counted[state]}

    def work_left(self) -> tuple[float, int]:
        """Seconds that the runs still to be done will take one after the other, and how many of them cannot be estimated.

        A run is taken to last as long as the mean of those done of its algorithm and data set, else of its algorithm.
        """
        exact, rough = (
            _means(self.runs, lambda run: (run.algorithm, run.dataset)),
            _means(self.runs, lambda run: run.algorithm),
        )
        seconds, unknown_ = 0.0, 0
        for run in self.runs:
            if run.over:
                continue
            expected = run.left if run.left is not None else exact.get((run.algorithm, run.dataset))
            expected = expected if expected is not None else rough.get(run.algorithm)
            if expected is None:
                unknown_ += 1
            else:
                seconds += expected
        return seconds, unknown_


def read_sweep(
    path: str | Path, scheduler: Mapping[str, str] | None = None, watcher: Watcher | None = None
) -> SweepStatus:
    """The status of the sweep in ``path``.

    Args:
        scheduler: ids of runs to what ``Launcher.status`` of launchers with a scheduler says of them: ``queued``,
            ``preempted``, ``running``, or ``stopped`` where it had the run and has it no more; None where none was asked.
            What a process on this machine holds is running, whatever a scheduler says.
        watcher: the one of earlier looks; None for a first look.

    Raises:
        ConfigError: ``path`` is no sweep's folder.
        ArtifactError: sweep.json is damaged.
    """
    root = Path(path)
    content = read_sweep_file(root)
    watcher = watcher or Watcher()
    runs, configs = [], []
    for number, entry in enumerate(content["runs"], 1):
        config = entry["config"]
        run = RunStatus(number, entry["id"], config["algorithm"], config["dataset"], "planned")
        folder = root / "runs" / run.run
        there = _names(folder)
        _from_disk(run, folder, there, watcher)
        if scheduler is not None and not (run.state == "running" and held_here(folder / "lease")):
            _from_scheduler(run, scheduler.get(run.run))
        if "config.json" in there:
            configs.append(read_object(folder / "config.json"))
        runs.append(run)
    return SweepStatus(root, content["spec"]["name"], runs, mixed(configs))


def settle(root: Path, status: SweepStatus, watcher: Watcher, patience: float) -> bool:
    """Watch, for ``patience`` seconds, those leases of other machines that look as if nobody had touched them for long,
    or as if they came from the future.

    How a file looks depends on clocks, which is why it only decides who is watched: two heartbeats' time without one
    is what counts. Returns whether anybody was watched; the sweep is then to be read again with ``watcher``.
    """
    doubtful = [
        lease
        for run in status.runs
        if run.state == "running" and abs(_age(lease := root / "runs" / run.run / "lease", root)) > watcher.stale
    ]
    if doubtful:
        for lease in doubtful:
            watcher.dead(lease)
        time.sleep(patience)
        watcher.stale = min(watcher.stale, patience * 0.9)
    return bool(doubtful)


def find_run(status: SweepStatus, name: str) -> RunStatus:
    """The run with this id, this beginning of an id, or this number. Raises where none or several have it."""
    if name.isdigit() and 1 <= int(name) <= len(status.runs):
        return status.runs[int(name) - 1]
    found = [run for run in status.runs if run.run == name] or [run for run in status.runs if run.run.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        most = ", ".join(run.run for run in found[:5]) + (", ..." if len(found) > 5 else "")
        raise ConfigError(
            f"{len(found)} runs begin with '{name}': {most}. Type more of it, or its number in the status."
        )
    beginnings = {run.run[: len(name)]: run.run for run in reversed(status.runs)}
    known = [beginnings[close] for close in near(name, list(beginnings))] or [run.run for run in status.runs]
    raise UnknownNameError(
        f"There is no run of the sweep '{name}'. Near it: {listing(known, 5)}. Type an id, the beginning of one, or a "
        f"number of `dfdgbench sweep status {shlex.quote(str(status.path))}`."
    )


def _from_disk(run: RunStatus, folder: Path, there: set[str], watcher: Watcher) -> None:
    """Set what the folder tells."""
    if not there:
        return
    status = read_object(folder / "status.json") if "status.json" in there else {}
    run.seconds = as_number(status.get("seconds"))
    if "done" in there:
        run.state = "trained" if "pending" in there else "done"
        return
    state = str(status.get("state", "waiting"))
    if state == "running" and watcher.dead(folder / "lease"):
        status = read_object(folder / "status.json")  # it may have ended between the two looks
        state = str(status.get("state", "waiting"))
        if state == "done":
            run.state, run.seconds = "done", as_number(status.get("seconds"))
            return
        state = "lost" if state == "running" else state
    run.state = state if state in STATES else "planned"
    run.host = str(status.get("host", ""))
    if run.state in ("running", "lost", "stopped"):
        run.stage = str(status.get("stage", ""))
        run.step, run.steps = (_whole(status.get(name)) for name in ("step", "steps"))
        run.rate, run.left = (as_number(status.get(name)) for name in ("rate", "left"))
    if run.state != "running":
        run.rate = run.left = None
    if run.state in ("failed", "lost"):
        run.error = _last_line(status)
        run.log = _log(folder, there)


def _from_scheduler(run: RunStatus, told: str | None) -> None:
    """What a scheduler adds: it has runs of which the folder cannot know."""
    if told in ("queued", "preempted") and run.state not in ("done", "trained"):
        run.state = told
        run.error = run.log = ""
    elif told == "running" and run.state in ("planned", "stopped"):
        run.state = told
    elif told == "stopped" and run.state == "running":
        run.state = "lost"


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; empty where there is none, or a damaged one."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_bytes())
        return content if isinstance(content, dict) else {}
    return {}


def as_number(value: Any) -> float | None:
    """A finite number from 0: what a clock that jumped left is not known."""
    return float(value) if isinstance(value, int | float) and 0 <= value < math.inf else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _last_line(status: Mapping[str, Any]) -> str:
    for text in (status.get("traceback"), status.get("error")):
        lines = [line for line in str(text or "").splitlines() if line.strip()]
        if lines:
            return lines[-1].strip()
    return ""


def _log(folder: Path, there: Iterable[str]) -> str:
    """The file that says most of how the run ended; empty where it left none."""
    return next((str(folder / name) for name in ("err.txt", "out.txt") if name in there), "")


def _age(lease: Path, root: Path) -> float:
    """Seconds since ``lease`` was written, below 0 for a time to come: by the file system's clock where a file can be
    written, else by ours."""
    try:
        written = lease.stat().st_mtime
    except OSError:
        return 0.0
    try:
        with tempfile.TemporaryFile(dir=root) as probe:
            return os.fstat(probe.fileno()).st_mtime - written
    except OSError:
        return time.time() - written


def _means(runs: Iterable[RunStatus], key: Callable[[RunStatus], Any]) -> dict[Any, float]:
    spent: dict[Any, list[float]] = defaultdict(list)
    for run in runs:
        if run.seconds is not None and run.state in ("done", "trained"):
            spent[key(run)].append(run.seconds)
    return {name: sum(values) / len(values) for name, values in spent.items()}
