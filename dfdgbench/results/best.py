"""Which cells are bold: the best of a column, and what is not significantly worse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from dfdgbench.results.statistics import ALPHA, t_test, welch_test

if TYPE_CHECKING:
    from dfdgbench.results.table import Block, Cell

Trials = Mapping[int, float]
Direction = Literal["high", "low", "none"]


def best_rows(values: Sequence[Trials | None], direction: Direction = "high") -> set[int]:
    """The best row of a column and those not significantly worse, by index.

    A row is worse than the best where a one-sided t test at 0.05 says so: of the differences by trial where both have
    two trials or more in common, Welch's where they have not. Without two trials each there is no test, and only the
    best, with what equals it, is returned. One row alone is not the best of anything.

    Args:
        values: trial to value of each row; None, or nothing finite, where a row does not take part.
        direction: whether large values are good, small ones, or neither: then no row is best.
    """
    if direction == "none":
        return set()
    sign = 1.0 if direction == "high" else -1.0
    there = {i: _finite(found, sign) for i, found in enumerate(values) if found is not None}
    there = {i: found for i, found in there.items() if found}
    if len(there) < 2:
        return set()
    means = {i: math.fsum(found.values()) / len(found) for i, found in there.items()}
    best = max(means, key=means.__getitem__)
    return {i for i in there if means[i] == means[best] or not _worse(there[best], there[i])}


def mark_best(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """The blocks with ``best`` set in each column, among the rows of one group, since groups may show different things.

    What used more than its setting grants (†) competes with its like only: it is bold where every cell of the column
    is marked.
    """
    return tuple(_marked(block) for block in blocks)


def _marked(block: Block) -> Block:
    bold = set()
    for j, column in enumerate(block.columns):
        for group in dict.fromkeys(row.group for row in block.rows):
            there = [i for i, row in enumerate(block.rows) if row.group == group]
            cells = [block.rows[i].cells[j] for i in there]
            alike = all(cell.marked for cell in cells if cell.n)
            bold |= {(there[i], j) for i in best_rows([_entry(cell, alike) for cell in cells], column.best)}
    if not bold:
        return block
    rows = [
        replace(row, cells=tuple(replace(cell, best=(i, j) in bold) for j, cell in enumerate(row.cells)))
        for i, row in enumerate(block.rows)
    ]
    return replace(block, rows=tuple(rows))


def _entry(cell: Cell, alike: bool) -> Trials | None:
    return cell.values if alike or not cell.marked else None


def _finite(values: Trials, sign: float) -> dict[int, float]:
    return {trial: sign * value for trial, value in values.items() if math.isfinite(value)}


def _worse(best: Trials, other: Trials) -> bool:
    """Whether ``other`` is significantly below ``best``; also where that cannot be told."""
    shared = sorted(best.keys() & other.keys())
    if len(shared) > 1:
        p = t_test([best[trial] - other[trial] for trial in shared], "greater")
    else:
        p = welch_test(list(best.values()), list(other.values()), "greater")
    return p is None or p < ALPHA
