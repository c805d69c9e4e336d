"""How the parts of a table stand: one below the other, side by side, or with rows and columns exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from dfdgbench.results.blocks import Block, Cell, TableRow
from dfdgbench.tables.spec import Column, Row, TableSpec


def arranged(spec: TableSpec, parts: Sequence[Block]) -> tuple[Block, ...]:
    """The printed blocks, of one for each part of ``spec``; what would be empty is left out."""
    blocks: list[Block] = []
    for title, group in groupby(enumerate(parts), lambda item: spec.parts[item[0]].block or item[0]):
        there = [block for _, block in group if block.rows]
        if not there:
            continue
        if isinstance(title, int):
            blocks += there
        elif spec.transposed:
            blocks.append(_transposed(spec, title, there))
        else:
            blocks.append(_joined(spec, title, there))
    return tuple(replace(block, corner=spec.corner) for block in blocks)


def _joined(spec: TableSpec, title: str, blocks: Sequence[Block]) -> Block:
    """Blocks side by side: a row that one of them lacks has empty cells there."""
    order = [row.key for row in spec.rows]
    rows: dict[str, TableRow] = {}
    width = 0
    for block in blocks:
        for row in block.rows:
            before = rows.get(row.key, replace(row, cells=()))
            empty = (Cell(),) * (width - len(before.cells))
            quoted = before.quoted and row.quoted
            rows[row.key] = replace(before, cells=(*before.cells, *empty, *row.cells), quoted=quoted)
        width += len(block.columns)
    return Block(
        title=title,
        columns=tuple(column for block in blocks for column in _alone(block)),
        rows=tuple(
            replace(row, cells=(*row.cells, *(Cell(),) * (width - len(row.cells))))
            for row in sorted(rows.values(), key=lambda row: order.index(row.key))
        ),
        parts=tuple(("", 1) if len(block.columns) == 1 else (block.title, len(block.columns)) for block in blocks),
        quoted=all(block.quoted for block in blocks),
        notes=_notes(blocks),
    )


def _alone(block: Block) -> Sequence[Column]:
    """A block's columns; one that is the only one is called what its block is."""
    return [_called(block.columns[0], block.title)] if len(block.columns) == 1 else block.columns


def _transposed(spec: TableSpec, title: str, blocks: Sequence[Block]) -> Block:
    """A line for each of ``blocks``, a column for each of their cells that any row has."""
    known = {row.key for block in blocks for row in block.rows}
    places = [
        (row, [column for column in _columns(blocks) if row.fills(column)]) for row in spec.rows if row.key in known
    ]
    spans = [span for row, columns in places for span in [_span(row, columns)] * len(columns)]
    return Block(
        title=title,
        columns=tuple(
            column if len(columns) > 1 else _called(column, row.label) for row, columns in places for column in columns
        ),
        rows=tuple(_line(block, places) for block in blocks),
        parts=tuple((span, len(list(group))) for span, group in groupby(spans)),
        quoted=all(block.quoted for block in blocks),
        notes=_notes(blocks),
    )


def _span(row: Row, columns: Sequence[Column]) -> str:
    """What stands above the columns that a row has become."""
    return row.group or (row.label if len(columns) > 1 else "")


def _columns(blocks: Sequence[Block]) -> list[Column]:
    return list({column.label: column for block in blocks for column in block.columns}.values())


def _line(block: Block, places: Sequence[tuple[Row, Sequence[Column]]]) -> TableRow:
    cells = {
        (row.key, column.label): cell
        for row in block.rows
        for column, cell in zip(block.columns, row.cells, strict=True)
    }
    found = [cells.get((row.key, column.label), Cell()) for row, columns in places for column in columns]
    return TableRow(block.title, tuple(found), quoted=not any(cell.expected for cell in found))


def _notes(blocks: Sequence[Block]) -> tuple[str, ...]:
    return tuple(note for block in blocks for note in block.notes)


def _called(column: Column, label: str) -> Column:
    """``column`` under another label."""
    return column.model_copy(update={"label": label})
