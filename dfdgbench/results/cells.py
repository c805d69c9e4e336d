"""The cells of a filled table, each with its place: what figures and comparisons are made of."""

from __future__ import annotations

from typing import NamedTuple

from dfdgbench.results.blocks import Cell, Table
from dfdgbench.tables.spec import Column

DAGGER = "†"
_SIGNS = {"high": 1, "low": -1, "none": 0}


class Placed(NamedTuple):
    """A cell, and where it stands.

    Attributes:
        part: title of its part.
        method: key of its row, and what else sets it apart where several sweeps are shown together.
    """

    part: str
    method: str
    column: Column
    cell: Cell

    @property
    def key(self) -> tuple[str, str, str]:
        """Part, method and column; no other cell of the table has it."""
        return self.part, self.method, self.column.label

    @property
    def of_one_domain(self) -> bool:
        """Whether it says how good a method is on one held-out domain, and is no average or remark."""
        return len(self.column.targets) == 1 and self.column.on == "target" and self.sign != 0

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is, 0 where neither."""
        return _SIGNS[self.column.best]


def placed(table: Table) -> list[Placed]:
    """Every cell of ``table``, part by part and row by row, however the table is printed."""
    return [
        Placed(part.title, row.key, column, cell)
        for part in table.parts
        for row in part.rows
        for column, cell in zip(part.columns, row.cells, strict=True)
    ]
