"""A sweep's folder: sweep.json says which runs there are and where they stand in the table; runs/ holds them."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from dfdgbench.engine.runfolder import RunFolder
from dfdgbench.errors import ConfigError
from dfdgbench.files import read_json, write_json
from dfdgbench.sweeps.grid import SweepRun
from dfdgbench.tables.spec import TableSpec


class SweepFolder:
    """Args:
    path: the folder; made by :meth:`write`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def file(self) -> Path:
        return self.path / "sweep.json"

    def write(self, spec: TableSpec, runs: list[SweepRun], execution: dict[str, Any]) -> None:
        """Note the runs; runs that an earlier launch planned stay where the table still has their row, so that a sweep
        can grow."""
        earlier = self.spec() if self.file.exists() else spec
        moved = [_placed(run, earlier, spec) for run in (self.runs() if self.file.exists() else [])]
        known = {run.run_id: run for run in moved if run is not None}
        if earlier.name != spec.name:
            raise ConfigError(
                f"The folder {self.path} holds the sweep '{earlier.name}', not '{spec.name}'. Choose another --output-dir."
            )
        known |= {run.run_id: run for run in runs}
        content = {
            "spec": spec.model_dump(),
            "runs": [run.to_json() for run in known.values()],
            "execution": execution,
            "command": shlex.join(["dfdgbench", *sys.argv[1:]]),
        }
        write_json(self.file, content, "The sweep's list of runs", sort_keys=False)  # columns have an order

    def _content(self) -> dict[str, Any]:
        if not self.file.exists():
            raise ConfigError(
                f"{self.path} is no sweep's folder: it has no sweep.json. `dfdgbench sweep launch` makes one."
            )
        content: dict[str, Any] = read_json(self.file)
        return content

    def spec(self) -> TableSpec:
        """The table that the sweep fills."""
        return TableSpec.model_validate(self._content()["spec"])

    def execution(self) -> dict[str, Any]:
        """How the last launch executed runs."""
        return dict(self._content()["execution"])

    def runs(self) -> list[SweepRun]:
        """Every run of the sweep."""
        return [SweepRun.from_json(entry) for entry in self._content()["runs"]]

    def folder(self, run: SweepRun) -> RunFolder:
        """Where a run lives."""
        return RunFolder(self.path / "runs" / run.run_id)

    def states(self) -> Counter[str]:
        """How many runs are in which state."""
        return Counter(self.folder(run).state() for run in self.runs())


def _placed(run: SweepRun, earlier: TableSpec, now: TableSpec) -> SweepRun | None:
    """The run where the table has its row and part now; None where it has them no more."""
    titles, labels = [part.title for part in now.parts], [row.label for row in now.rows]
    title, label = earlier.parts[run.part].title, earlier.rows[run.row].label
    if title not in titles or label not in labels:
        return None
    return replace(run, part=titles.index(title), row=labels.index(label))
