"""A grid as the table that its runs fill: a part a data set, a row an algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.datasets.base import DATASETS
from dfdgbench.errors import ConfigError
from dfdgbench.tables.grid import Grid
from dfdgbench.tables.rules import RuleNeeds
from dfdgbench.tables.spec import Part, Row, Search, TableSpec


def spec_of(grid: Grid, rules: Mapping[str, RuleNeeds]) -> TableSpec:
    """The table of a grid's results, by the first of its rules.

    A row for whose method no rule of the grid may compare configurations shows the last step instead.

    Args:
        rules: what every known selection rule needs.
    """
    search = grid.search()
    return TableSpec(
        name=grid.name,
        title=grid.title or f"{grid.name}: accuracy (%) on the held-out domain",
        trials=grid.n_trials,
        selection=search.rules[0],
        search=search,
        grid=True,
        options=grid.options,
        hparams=grid.hparams,
        parts=[_part(name, grid) for name in dict.fromkeys(grid.datasets)],
        rows=[_row(name, search, rules) for name in dict.fromkeys(grid.algorithms)],
    )


def _part(name: str, grid: Grid) -> Part:
    metadata = DATASETS.get(name).metadata
    wanted = {metadata.index(env) for env in grid.test_envs}
    domains = [domain for i, domain in enumerate(metadata.domains) if not wanted or i in wanted]
    return Part(title=name, dataset=name, columns={domain: domain for domain in domains})


def _row(name: str, search: Search, rules: Mapping[str, RuleNeeds]) -> Row:
    selection = ALGORITHMS.get(name).setting.selection
    able = [rule for rule in search.rules if rule in rules and rules[rule].searches(selection)]
    return Row(label=name, algorithm=name, selection=able[0] if able else "last")


def united(earlier: TableSpec, now: TableSpec) -> TableSpec:
    """A grid with the rows, parts, trials and hparams seeds of an earlier launch besides its own.

    Raises:
        ConfigError: the two draw their random configurations by different seed protocols.
    """
    check_protocol(earlier, now)
    rows = {row.label: row for row in (*earlier.rows, *now.rows)}
    parts = {part.title: part for part in earlier.parts}
    for part in now.parts:
        known = parts[part.title].columns if part.title in parts else {}
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


def _in_order(dataset: str, columns: Mapping[str, str]) -> dict[str, str]:
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
