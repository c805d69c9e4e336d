"""Sweeps with given results, for who compares and draws them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from result_builders import finish, plan, small

from dfdgbench.tables.spec import Row, TableSpec

# Held-out domain's number to the accuracies of trials 0, 1, ...; None for a trial without a result.
Results = Mapping[int, Sequence[float | None]]


def rows(*labels: str, **changes: Any) -> list[Row]:
    """Rows that are told apart by their label alone."""
    steps = {label: 1 + zlib.crc32(label.encode(errors="replace")) for label in labels}
    return [Row(label=label, algorithm="DEKAN", hparams={"fusion.steps": steps[label]}, **changes) for label in labels]


def fill_sweep(
    folder: Path,
    results: Mapping[str, Results],
    spec: TableSpec | None = None,
    settings: Mapping[str, str] | None = None,
    **facts: Any,
) -> Path:
    """A sweep of ``spec`` (rows called as ``results`` is, the domains of ``small()``) with these results.

    Args:
        settings: row to setting; "data-free" where it is not given.
        facts: what every config.json says on top, such as ``git`` and ``versions``.
    """
    spec = spec or small(rows=rows(*results))
    trials = max((len(values) for found in results.values() for values in found.values()), default=1)
    for entry in plan(spec, folder, trials=max(trials, 1)):
        label = spec.rows[entry["row"]].label
        given = results[label].get(entry["config"]["test_envs"][0], [])
        trial = entry["config"]["trial_seed"]
        accuracy = given[trial] if trial < len(given) else None
        if accuracy is None:
            continue
        finish(folder, entry, accuracy, setting=(settings or {}).get(label, "data-free"))
        config = folder / "runs" / entry["id"] / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | facts))
    return folder


def add_steps(folder: Path, steps: Sequence[int]) -> None:
    """Give every run records of these steps, rising to the accuracy that it has."""
    for path in sorted(folder.glob("runs/*/results.jsonl")):
        last = json.loads(path.read_text().splitlines()[-1])
        key = next(name for name in last if name.startswith("env"))
        lines = [{**last, "step": step, key: last[key] * (i + 1) / len(steps)} for i, step in enumerate(steps)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
