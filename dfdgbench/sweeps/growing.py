"""A sweep that grows: the table of an earlier launch, with what a later one adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dfdgbench.datasets.base import DATASETS
from dfdgbench.errors import ConfigError
from dfdgbench.tables.spec import Column, Search, TableSpec


def united(earlier: TableSpec, now: TableSpec) -> TableSpec:
    """A grid with the rows, parts, trials and hparams seeds of an earlier launch besides its own.

    Raises:
        ConfigError: the two draw their random configurations by different seed protocols.
    """
    check_protocol(earlier, now)
    rows = {row.label: row for row in (*earlier.rows, *now.rows)}
    parts = {part.title: part for part in earlier.parts}
    for part in now.parts:
        known: dict[str, str | Column] = parts[part.title].columns if part.title in parts else {}
        parts[part.title] = part.model_copy(update={"columns": _in_order(part.dataset, {**known, **part.columns})})
    changes: dict[str, Any] = {
        "rows": list(rows.values()),
        "parts": list(parts.values()),
        "trials": max(earlier.trials, now.trials),
        "search": _united(earlier.search, now.search),
    }
    return now.model_copy(update=changes)


def check_protocol(earlier: TableSpec, now: TableSpec) -> None:
    """Raise ``ConfigError`` where one folder would hold configurations drawn in two ways under the same seeds."""
    before, after = earlier.search.seed_protocol, now.search.seed_protocol
    if before != after:
        raise ConfigError(
            f"The sweep was planned with --seed-protocol {before}, and its hparams seeds would mean other configurations "
            f"with {after}. Type --seed-protocol {before}, or choose another --output-dir."
        )


def _in_order(dataset: str, columns: Mapping[str, str | Column]) -> dict[str, str | Column]:
    domains = DATASETS.get(dataset).metadata.domains
    return {domain: columns[domain] for domain in domains if domain in columns}


def _united(earlier: Search, now: Search) -> Search:
    same = earlier.test_env_grid == now.test_env_grid
    changes: dict[str, Any] = {
        "n_hparams_from": min(earlier.n_hparams_from, now.n_hparams_from),
        "n_hparams": max(earlier.n_hparams, now.n_hparams),
        "test_env_grid": now.test_env_grid if same else None,
        "rules": list(dict.fromkeys([*now.rules, *earlier.rules])),
    }
    return now.model_copy(update=changes)
