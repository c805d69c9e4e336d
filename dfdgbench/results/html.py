"""A table as HTML: a fragment for the report, or a page by itself. What comes from records is escaped by the templates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dfdgbench.results.render import DAGGER, DOUBLE_DAGGER, NOTHING, SECTION, footnotes, legend
from dfdgbench.results.report.template import page, render
from dfdgbench.results.table import Block, Cell, Table, TableRow

View = Literal["both", "ours", "published", "difference"]
VIEWS: dict[View, str] = {
    "both": "ours (published)",
    "ours": "ours",
    "published": "published",
    "difference": "difference",
}

Places = Mapping[tuple[str, str, str], int]
"""Block, row and column of a cell to the number under which the page knows the runs behind it."""


@dataclass(frozen=True)
class CellView:
    """A cell's texts; "" for what it has not.

    Attributes:
        keys: ours, published and difference as numbers to sort by, "" where there is none.
        quoted: whether it is a printed number alone, where nothing of ours belongs.
        number: under which the page knows the runs behind it; None where there are none.
    """

    ours: str
    error: str
    trials: str
    published: str
    difference: str
    best: bool
    quoted: bool
    keys: tuple[str, str, str]
    number: int | None
    nothing: str = NOTHING


@dataclass(frozen=True)
class RowView:
    """A row: its label with its marks, and its cells."""

    label: str
    cells: tuple[CellView, ...]


@dataclass(frozen=True)
class BlockView:
    """A block: its rows in groups of one sub-heading; ``spans`` where parts stand side by side."""

    title: str
    columns: tuple[str, ...]
    spans: tuple[tuple[str, int], ...]
    groups: tuple[tuple[str, tuple[RowView, ...]], ...]


@dataclass(frozen=True)
class TableView:
    """A table ready to be written; ``views`` are the ways of looking at it that make a difference."""

    title: str
    description: str
    blocks: tuple[BlockView, ...]
    legend: str
    notes: tuple[str, ...]
    views: tuple[tuple[View, str], ...]


def fragment(table: Table, places: Places | None = None) -> str:
    """The table as ``<table>`` elements with captions, and its notes.

    Args:
        places: numbers of cells that become buttons; None for a table without runs to show.
    """
    return render("table.html", table=view(table, places or {}))


def document(table: Table, *, diff: bool = False) -> str:
    """A page of its own, which needs nothing but itself; ``diff`` chooses what it shows at first."""
    shown = view(table, {})
    start: View = "difference" if diff else "both"
    return page("table_page.html", title=table.title, table=shown, views=shown.views, start=start)


def view(table: Table, places: Places) -> TableView:
    """The texts of ``table``."""
    cells = [cell for block in table.blocks for row in block.rows for cell in row.cells]
    several = any(cell.published for cell in cells) and any(cell.mean is not None for cell in cells)
    return TableView(
        title=table.title,
        description=table.description,
        blocks=tuple(_block(block, places) for block in table.blocks),
        legend=legend(table, False),
        notes=tuple(footnotes(table)),
        views=tuple(VIEWS.items()) if several else (),
    )


def _block(block: Block, places: Places) -> BlockView:
    groups: list[tuple[str, list[RowView]]] = []
    for row in block.rows:
        if not groups or groups[-1][0] != row.group:
            groups.append((row.group, []))
        groups[-1][1].append(_row(block, row, places))
    side_by_side = len(block.parts) > 1 and any(count > 1 for _, count in block.parts)
    return BlockView(
        title=block.title,
        columns=tuple(column.label for column in block.columns) if side_by_side else block.header,
        spans=tuple(block.parts) if side_by_side else (),
        groups=tuple((title, tuple(rows)) for title, rows in groups),
    )


def _row(block: Block, row: TableRow, places: Places) -> RowView:
    found = zip(block.header, block.columns, row.cells, strict=True)
    cells = [_cell(cell, column.digits, places.get((block.title, row.key, label))) for label, column, cell in found]
    return RowView(f"{row.label} {DAGGER}" if row.marked else row.label, tuple(cells))


def _cell(cell: Cell, digits: int, number: int | None) -> CellView:
    ours = "" if cell.mean is None or not cell.expected else f"{cell.mean:.{digits}f}"
    printed = cell.published
    return CellView(
        ours=ours + DOUBLE_DAGGER * bool(cell.mixed and ours),
        error="" if cell.se is None or not ours else f"{cell.se:.{digits}f}",
        trials=f"{cell.n}/{cell.expected}" if 0 < cell.n < cell.expected else "",
        published="" if printed is None else printed.text + SECTION * bool(printed.note),
        difference="" if cell.difference is None else f"{cell.difference:+.{digits}f}",
        best=cell.best,
        quoted=printed is not None and not cell.expected,
        keys=(_key(cell.mean), _key(None if printed is None else printed.value), _key(cell.difference)),
        number=number,
    )


def _key(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else repr(value)
