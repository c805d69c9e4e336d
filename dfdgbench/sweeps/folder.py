"""A sweep's folder: sweep.json says which runs there are and where they stand in the table; runs/ holds them."""

from __future__ import annotations

import contextlib
import shlex
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dfdgbench.engine.runfolder import RunFolder
from dfdgbench.errors import ConfigError
from dfdgbench.files import write_json
from dfdgbench.leases import Lease, gone
from dfdgbench.sweeps.growing import check_protocol, united
from dfdgbench.sweeps.run import SweepRun
from dfdgbench.tables.spec import TableSpec, of_sweep
from dfdgbench.tables.sweepfile import SWEEP_FILE, launchers_of, read_sweep_file
from dfdgbench.versions import code, differences


class SweepFolder:
    """Args:
    path: the folder; made by :meth:`write`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def file(self) -> Path:
        return self.path / SWEEP_FILE

    def check(self, spec: TableSpec) -> None:
        """Raise ``ConfigError`` where the folder holds a sweep that ``spec`` cannot be added to."""
        if not self.file.exists():
            return
        earlier = self.spec()
        if earlier.name != spec.name:
            raise ConfigError(
                f"The folder {self.path} holds the sweep '{earlier.name}', not '{spec.name}'. Choose another --output-dir."
            )
        check_protocol(earlier, spec)

    def write(
        self,
        spec: TableSpec,
        runs: list[SweepRun],
        execution: dict[str, Any],
        launch: dict[str, Any] | None = None,
    ) -> None:
        """Note the runs. Runs that an earlier launch planned stay where the table still has their row, so that a sweep
        can grow; a grid keeps the rows of earlier launches.

        Args:
            launch: the options of the command that launches them, for ``sweep retry``; None where there were none.
        """
        with Lease(self.path / "sweep.lease").waiting():  # two people may launch parts of one sweep at once
            self.check(spec)
            self._write(spec, runs, execution, launch or {})

    def _write(self, spec: TableSpec, runs: list[SweepRun], execution: dict[str, Any], launch: dict[str, Any]) -> None:
        earlier, before = (self.spec(), self.runs()) if self.file.exists() else (spec, [])
        if earlier.grid and spec.grid:
            whole = united(earlier, spec)
            runs = [placed for run in runs if (placed := place(run, spec, whole)) is not None]
            spec = whole
        moved = [place(run, earlier, spec) for run in before]
        now = {run.run_id: run for run in runs}
        known = {run.run_id: run for run in moved if run is not None}  # their order is that of numbers in the status
        used = [*(self.launchers() if self.file.exists() else []), *([launch["launcher"]] if launch else [])]
        content = {
            "spec": spec.model_dump(),
            "runs": [run.to_json() for run in (known | now).values()],
            "execution": execution,
            "launch": launch,
            "launchers": list(dict.fromkeys(reversed(used)))[::-1],
            "command": shlex.join(["dfdgbench", *sys.argv[1:]]),
            **code(),
        }
        write_json(self.file, content, "The sweep's list of runs", sort_keys=False)  # columns have an order

    def unite(self, spec: TableSpec, runs: list[SweepRun]) -> None:
        """Replace table and runs by those of a merge; how the sweep was launched stays."""
        with Lease(self.path / "sweep.lease").waiting():
            content = {**self._content(), "spec": spec.model_dump(), "runs": [run.to_json() for run in runs]}
            write_json(self.file, content, "The sweep's list of runs", sort_keys=False)

    @contextlib.contextmanager
    def front(self) -> Iterator[None]:
        """The body hands tasks out, so that ``sweep cancel`` finds its process: it holds a lease in launching/."""
        lease = Lease(self.path / "launching" / uuid.uuid4().hex[:8])
        for left in lease.path.parent.glob("*"):  # by fronts that were killed
            with contextlib.suppress(OSError):
                if gone(left.read_text(errors="replace").split("\n")[0]):
                    left.unlink()
        try:
            with lease.waiting():
                yield
        finally:
            with contextlib.suppress(OSError):  # another front is at work
                lease.path.parent.rmdir()

    def _content(self) -> dict[str, Any]:
        return read_sweep_file(self.path)

    def spec(self) -> TableSpec:
        """The table that the sweep fills."""
        return of_sweep(self.path)

    def execution(self) -> dict[str, Any]:
        """How the last launch executed runs."""
        return dict(self._content()["execution"])

    def launch_options(self) -> dict[str, Any]:
        """The options of the last launch, by name; empty for a sweep of an earlier release."""
        return dict(self._content()["launch"])

    def launchers(self) -> list[str]:
        """The launchers that the sweep was given to, that of the last launch at the end."""
        return launchers_of(self._content())

    def other_code(self) -> list[str]:
        """What differs between the code and packages of the last launch and those here: ``torch 2.5.0, now 2.6.0``."""
        return differences(self._content(), code()) if self.file.exists() else []

    def forget_failure(self, run: SweepRun) -> None:
        """Have a failed run be one that is still to do; its snapshot, records and err.txt stay."""
        folder = self.folder(run)
        if folder.state() == "failed":
            (folder.path / "status.json").unlink(missing_ok=True)

    def runs(self) -> list[SweepRun]:
        """Every run of the sweep."""
        return [SweepRun.from_json(entry) for entry in self._content()["runs"]]

    def folder(self, run: SweepRun) -> RunFolder:
        """Where a run lives."""
        return RunFolder(self.path / "runs" / run.run_id)

    def states(self) -> Counter[str]:
        """How many runs are in which state."""
        return Counter(self.folder(run).state() for run in self.runs())


def place(run: SweepRun, earlier: TableSpec, now: TableSpec) -> SweepRun | None:
    """The run where the table has its row and part now; None where it has them no more."""
    titles, labels = [part.title for part in now.parts], [row.key for row in now.rows]
    title, label = earlier.parts[run.part].title, earlier.rows[run.row].key
    if title not in titles or label not in labels:
        return None
    return replace(run, part=titles.index(title), row=labels.index(label))
