"""Runs and records as pandas frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dfdgbench.results.ledger import Entry, Ledger
from dfdgbench.results.reading import read_runs
from dfdgbench.results.record import Facts, Place, facts_of, place
from dfdgbench.results.scores import are_absent
from dfdgbench.results.stored import read_ledger

COLUMNS = [
    "run", "dataset", "algorithm", "network", "variant", "test_envs", "train_envs", "trial_seed", "hparams_seed",
    "step", "env", "split", "metric", "predictor", "value", "setting", "protocol", "done",
]  # fmt: skip
_TEXTS = ("dataset", "algorithm", "network", "variant", "setting", "protocol")
_NUMBERS = ("trial_seed", "hparams_seed")
_TUPLES = ("test_envs", "train_envs")


def records(folder: str | Path, *, include_unfinished: bool = False) -> pd.DataFrame:
    """Every value of every record at or below ``folder``, one a row, as fractions.

    Reads our run folders and DomainBed's. ``train_envs`` is None where a record does not name them (DomainBed: all
    domains that are not held out); ``env`` is -1 for synthetic images. Texts are categories, which keeps the frame of a
    large sweep small. ``frame.attrs`` has ``unfinished``, the names of runs that are not done, and ``notes``, a line
    for each run whose files were odd.

    Args:
        include_unfinished: whether runs that are not done have rows too.
    """
    ledger = read_ledger(folder)
    entries = [entry for entry in ledger.entries if (entry.done or include_unfinished) and len(entry.own[0])]
    frame = _frame(ledger, entries)
    frame.attrs = {
        "unfinished": [entry.name for entry in ledger.entries if not entry.done] + list(ledger.planned),
        "notes": [
            *ledger.notes,
            *(f"{entry.name}: {note}" for entry in ledger.entries for note in (*entry.content.notes, *entry.own[1])),
        ],
    }
    return frame


def runs(folder: str | Path) -> pd.DataFrame:
    """One row a run: ``run`` (its name), ``state``, ``folder``, ``config``, ``records`` (how many), ``notes``.

    ``config`` is config.json, {} for DomainBed's. A run that a sweep has planned and nobody has started is "planned".
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


def _frame(ledger: Ledger, entries: Sequence[Entry]) -> pd.DataFrame:
    """Values of all runs one after the other; what is said once a run is repeated for each of them."""
    said = [facts_of(entry.part_of(int(entry.own[0][0])).args) for entry in entries]
    places: dict[Place, int] = {}
    pieces = [_values(entry, facts, places) for entry, facts in zip(entries, said, strict=True)]
    counts = np.array([len(piece["value"]) for piece in pieces], dtype=np.intp)
    columns: dict[str, Any] = {
        name: np.concatenate([piece[name] for piece in pieces]) if pieces else np.zeros(0, dtype=np.int64)
        for name in ("step", "key", "value")
    }
    of = np.repeat(np.arange(len(entries)), counts)
    columns["run"] = _category([entry.name for entry in entries], of)
    columns["done"] = np.array([entry.done for entry in entries], dtype=bool)[of]
    for name in _TEXTS:
        columns[name] = _category([getattr(facts, name) for facts in said], of)
    for name in _NUMBERS:
        columns[name] = np.array([getattr(facts, name) for facts in said], dtype=np.int64)[of]
    for name in _TUPLES:
        columns[name] = pd.Series(_objects([getattr(facts, name) for facts in said])[of], dtype=object)
    columns |= _placed(columns.pop("key"), list(places))
    columns["value"] = columns["value"].astype(np.float64)
    return pd.DataFrame({name: columns[name] for name in COLUMNS})


def _values(entry: Entry, facts: Facts, places: dict[Place, int]) -> dict[str, Any]:
    """Step, number of the place, and value, of everything that the run's records have; new places are added."""
    rows = entry.own[0] - entry.rows[0]
    values = entry.content.values[rows]
    there = ~are_absent(values)
    keys = [places.setdefault(place(key, facts.test_envs), len(places)) for key in entry.content.keys]
    return {
        "step": np.repeat(entry.content.steps[rows], values.shape[1]).reshape(values.shape)[there],
        "key": np.broadcast_to(np.array(keys, dtype=np.int64), values.shape)[there],
        "value": values[there],
    }


def _placed(numbers: Any, places: Sequence[Place]) -> dict[str, Any]:
    envs = np.array([found.env for found in places], dtype=np.int64)
    texts = {
        name: _category([getattr(found, name) for found in places], numbers)
        for name in ("split", "metric", "predictor")
    }
    return {"env": envs[numbers], **texts}


def _category(names: Sequence[str], of: Any) -> pd.Categorical[Any]:
    """The text ``names[of[i]]`` in every row i."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    codes = np.array([numbers[name] for name in names], dtype=np.int64)
    found: pd.Categorical[Any] = pd.Categorical.from_codes(codes[of], categories=pd.Index(list(numbers), dtype=object))
    return found


def _objects(values: Sequence[Any]) -> Any:
    found = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):  # tuples of one length would become a second axis
        found[i] = value
    return found
