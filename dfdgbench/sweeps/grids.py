"""A grid as the table that its runs fill: a part a data set, a row an algorithm."""

from __future__ import annotations

from collections.abc import Mapping

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.datasets.base import DATASETS
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
