"""What the page's panel says of the runs behind a cell: one JSON object, whose repeated parts are said once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dfdgbench.hparams import flatten
from dfdgbench.results.html import Places
from dfdgbench.results.reading import Run
from dfdgbench.results.record import Facts, is_score
from dfdgbench.results.report.content import Content, mapping
from dfdgbench.results.table import Table

MOST_RECORDS = 12_000
"""Records of all runs together that a page holds; beyond, each run's last alone."""
_LONGEST = 500


class Pool:
    """Values by number, each once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[str, int] = {}

    def number(self, value: Any) -> int:
        """The number of ``value``, which JSON can hold."""
        key = json.dumps(value)
        if key not in self._numbers:
            self._numbers[key] = len(self.values)
            self.values.append(value)
        return self._numbers[key]


def number_cells(tables: Sequence[Table]) -> list[Places]:
    """For each table, the number of every cell that has runs behind it: one count through all tables."""
    found: list[Places] = []
    count = 0
    for table in tables:
        places: dict[tuple[str, str, str], int] = {}
        for block in table.blocks:
            for row in block.rows:
                for label, cell in zip(block.header, row.cells, strict=True):
                    if cell.runs:
                        places[block.title, row.key, label] = count
                        count += 1
        found.append(places)
    return found


def number_runs(runs: Sequence[Run]) -> dict[str, int]:
    """Name of a run to its place, also by its folder's name alone, which is how a sweep's tables call it."""
    by_folder = {Path(run.name).name: number for number, run in enumerate(runs)}
    return by_folder | {run.name: number for number, run in enumerate(runs)}


def details(content: Content, numbers: Mapping[str, int]) -> dict[str, Any]:
    """``cells`` in the order of :func:`number_cells`, and ``runs`` in the order of ``content.runs``."""
    hparams, keys = Pool(), Pool()
    whole = sum(len(run.records) for run in content.runs) <= MOST_RECORDS
    runs = [_run(run, content, whole, hparams, keys) for run in content.runs]
    cells = [
        {
            "title": f"{row.key}, {label}",
            "block": block.title,
            "runs": [numbers[run] for run in cell.runs if run in numbers],
            "steps": [step for run, step in zip(cell.runs, cell.steps, strict=True) if run in numbers],
            "values": [[trial, _number(value, 2)] for trial, value in sorted(cell.values.items())],
            "mixed": cell.mixed,
        }
        for table in content.tables
        for block in table.blocks
        for row in block.rows
        for label, cell in zip(block.header, row.cells, strict=True)
        if cell.runs
    ]
    return {"cells": cells, "runs": runs, "hparams": hparams.values, "keys": keys.values, "whole": whole}


def _run(run: Run, content: Content, whole: bool, hparams: Pool, keys: Pool) -> dict[str, Any]:
    records = run.records if whole else run.records[-1:]
    given = records[-1].get("hparams") if records else run.config.get("hparams")
    scores = sorted({key for record in records for key in record if is_score(key)}, key=_natural)
    return {
        "name": run.name[:_LONGEST],
        "state": content.states[run.name],
        "facts": [
            [name, value] for name, value in _facts(run, content.said[run.name], content.status[run.name]) if value
        ],
        "hparams": hparams.number([[_short(name), _short(value)] for name, value in _hparams(given)]),
        "keys": keys.number(scores),
        "records": [[record["step"], *(_number(record.get(key)) for key in scores)] for record in records],
        "notes": [_short(note) for note in run.notes],
    }


def _facts(run: Run, said: Facts | None, status: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [] if said is None else [
        ("algorithm", said.algorithm),
        ("variant", said.variant),
        ("network", said.network),
        ("data set", said.dataset),
        ("held out", _domains(run, said)),
        ("setting", said.setting),
        ("protocol", said.protocol),
        ("trial seed", str(said.trial_seed)),
        ("hparams seed", str(said.hparams_seed)),
    ]  # fmt: skip
    args = mapping(run.config.get("args"))
    found += [("seed", _text(args.get("seed"))), ("device", _text(run.config.get("device")))]
    found += [("seconds", _text(status.get("seconds"))), ("message", _text(status.get("error")))]
    found.append(("folder", str(run.folder)))
    return [(name, _short(value)) for name, value in found]


def _domains(run: Run, said: Facts) -> str:
    named = run.config.get("domains")
    names = named if isinstance(named, list) else []
    return ", ".join(f"{names[env]} ({env})" if env < len(names) else str(env) for env in said.test_envs)


def _hparams(given: Any) -> list[tuple[str, str]]:
    values = flatten(given) if isinstance(given, Mapping) else {}
    return [(str(name), json.dumps(value, default=str)) for name, value in sorted(values.items())]


def _natural(key: str) -> tuple[int, str]:
    digits = key.removeprefix("env").partition("_")[0]
    return (int(digits) if digits.isdecimal() else 10**9, key)


def _number(value: Any, digits: int = 4) -> float | str | None:
    """A value, short; a text for what JSON has no number for, None for no number at all."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return round(number, digits) if math.isfinite(number) else str(number)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return "" if value is None else str(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} signs)"
