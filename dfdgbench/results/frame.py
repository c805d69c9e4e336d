"""Runs and records as pandas frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dfdgbench.results.reading import Run, read_runs
from dfdgbench.results.record import facts, scores

COLUMNS = [
    "run", "dataset", "algorithm", "network", "variant", "test_envs", "train_envs", "trial_seed", "hparams_seed",
    "step", "env", "split", "metric", "predictor", "value", "setting", "protocol", "done",
]  # fmt: skip


def records(folder: str | Path, *, include_unfinished: bool = False) -> pd.DataFrame:
    """Every value of every record at or below ``folder``, one a row, as fractions.

    Reads our run folders and DomainBed's. ``train_envs`` is None where a record does not name them (DomainBed: all
    domains that are not held out). ``frame.attrs`` has ``unfinished``, the names of runs that are not done, and
    ``notes``, a line for each run whose files were odd.

    Args:
        include_unfinished: whether runs that are not done have rows too.
    """
    found = read_runs(folder)
    rows = [row for run in found if run.done or include_unfinished for row in _rows(run)]
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"value": "float64"})
    frame.attrs = {
        "unfinished": [run.name for run in found if not run.done],
        "notes": [f"{run.name}: {note}" for run in found for note in run.notes],
    }
    return frame


def runs(folder: str | Path) -> pd.DataFrame:
    """One row a run: ``run`` (its name), ``state``, ``folder``, ``config``, ``records`` (how many), ``notes``.

    ``config`` is config.json, {} for DomainBed's. A run that a sweep has planned and nobody has started is "absent".
    """
    rows = [
        {
            "run": run.name,
            "state": run.state,
            "folder": str(run.folder),
            "config": dict(run.config),
            "records": len(run.records),
            "notes": "; ".join(run.notes),
        }
        for run in read_runs(folder)
    ]
    return pd.DataFrame(rows)


def _rows(run: Run) -> list[dict[str, Any]]:
    rows = []
    for record in run.records:
        common = {"run": run.name, "step": record["step"], "done": run.done, **vars(facts(record))}
        rows += [{**common, **score._asdict()} for score in scores(record)]
    return rows
