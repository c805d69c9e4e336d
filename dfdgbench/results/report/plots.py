"""The charts of a table: ours against published, domain by domain, and by what a method was allowed to see."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dfdgbench.results.cells import DAGGER
from dfdgbench.results.ladder import height
from dfdgbench.results.report.charts import Line, Point, Rows, axis_of, draw_rows
from dfdgbench.results.table import Block, Cell, Table
from dfdgbench.settings import SETTINGS
from dfdgbench.tables.spec import Column


@dataclass(frozen=True)
class Figure:
    """Charts that share their rows or their axis, and their numbers as a table: a header and rows of texts."""

    title: str
    charts: tuple[Rows, ...]
    header: tuple[str, ...]
    data: tuple[tuple[str, ...], ...]


def against_published(table: Table) -> list[Figure]:
    """Of each block that has both: a chart a column, ours as dots with errors, the printed numbers as rings."""
    found = []
    for block in table.blocks:
        places = [
            number for number, _ in enumerate(block.columns) if any(_both(row.cells[number]) for row in block.rows)
        ]
        charts: list[tuple[Column, str, list[Line]]] = []
        data = []
        for number in places:
            label, rows = block.header[number], [row for row in block.rows if _both(row.cells[number])]
            lines = [
                Line(_called(row.key, row.cells), _pair(row.cells[number], block.columns[number].digits))
                for row in rows
            ]
            charts.append((block.columns[number], label, lines))
            data += [(row.key, label, *_numbers(row.cells[number], block.columns[number].digits)) for row in rows]
        if charts:
            header = ("Method", "Column", "Ours", "Standard error", "Trials", "Published", "Difference")
            found.append(Figure(block.title, _drawn(charts), header, tuple(data)))
    return found


def by_domain(table: Table) -> list[Figure]:
    """Of each block of our results on held-out domains: a chart a method, a bar a column."""
    found = []
    for block in _accuracies(table):
        charts, data = [], []
        for row in block.rows:
            cells = [(label, cell, column) for label, cell, column in _shown(block, row.cells) if _there(cell)]
            lines = [Line(label, (_bar(cell, column.digits),)) for label, cell, column in cells]
            if lines:
                name = _called(row.key, [cell for _, cell, _ in cells])
                charts.append((name, lines))
                data += [(name, label, *_numbers(cell, column.digits)[:3]) for label, cell, column in cells]
        if charts:
            axis = axis_of((lines for _, lines in charts), zero=True)
            drawn = tuple(draw_rows(title, lines, axis) for title, lines in charts)
            found.append(
                Figure(block.title, drawn, ("Method", "Domain", "Ours", "Standard error", "Trials"), tuple(data))
            )
    return found


def ladder(table: Table, settings: Mapping[str, str]) -> list[Figure]:
    """Of each block: methods under what they were allowed to see, from the least to the most, by their last column's accuracy.

    Args:
        settings: name of a run, as cells have it, to the setting's name.
    """
    found = []
    for block in _accuracies(table):
        column = block.columns[-1]
        rungs: dict[str, list[tuple[str, Cell]]] = {}
        for row in block.rows:
            cell = row.cells[-1]
            for name in sorted({settings[run] for run in cell.runs if run in settings}):
                if _there(cell) and name in SETTINGS:
                    label = _called(row.key, [cell])
                    rungs.setdefault(name, []).append((label, cell))
        lines, data = [], []
        for setting in sorted(SETTINGS.values(), key=height):
            if setting.name in rungs:
                lines.append(Line(f"{setting.name}: sees {setting.granted()}", heading=True))
            for label, cell in rungs.get(setting.name, ()):
                lines.append(Line(label, (_dot(cell, column.digits),)))
                data.append((setting.name, setting.granted(), label, *_numbers(cell, column.digits)[:3]))
        if len(rungs) > 1:
            header = ("Setting", "May see", "Method", "Ours", "Standard error", "Trials")
            label = f"{block.title}: {block.header[-1]}"
            found.append(Figure(label, (draw_rows(label, lines, axis_of([lines])),), header, tuple(data)))
    return found


def _called(name: str, cells: Sequence[Cell]) -> str:
    """A method's name, with a † where any of ``cells`` has one."""
    return f"{name} {DAGGER}" if any(cell.marked for cell in cells) else name


def _accuracies(table: Table) -> Iterable[Block]:
    """Blocks of results on held-out domains; of several for one data set by different rules, the first."""
    seen = set()
    for block in table.blocks:
        held_out = all(column.on == "target" and column.metric in ("acc", "miou") for column in block.columns)
        key = block.title.partition(", by ")[0]
        if held_out and key not in seen and any(_there(cell) for row in block.rows for cell in row.cells):
            seen.add(key)
            yield block


def _shown(block: Block, cells: Sequence[Cell]) -> list[tuple[str, Cell, Column]]:
    return list(zip(block.header, cells, block.columns, strict=True))


def _drawn(charts: Sequence[tuple[Column, str, list[Line]]]) -> tuple[Rows, ...]:
    """Charts of the same kind of number along one axis."""
    kinds: dict[tuple[object, ...], list[list[Line]]] = {}
    for column, _, lines in charts:
        kinds.setdefault(_kind(column), []).append(lines)
    axes = {kind: axis_of(lines) for kind, lines in kinds.items()}
    return tuple(draw_rows(label, lines, axes[_kind(column)]) for column, label, lines in charts)


def _kind(column: Column) -> tuple[object, ...]:
    return column.scale, column.best, column.metric if column.on == "run" else ""


def _there(cell: Cell) -> bool:
    return cell.mean is not None and math.isfinite(cell.mean)


def _both(cell: Cell) -> bool:
    return _there(cell) and cell.published is not None


def _pair(cell: Cell, digits: int) -> tuple[Point, ...]:
    assert cell.published is not None
    return Point(cell.published.value, "ring", f"published: {cell.published.text}"), _dot(cell, digits)


def _dot(cell: Cell, digits: int) -> Point:
    return Point(cell.mean or 0.0, "dot", f"ours: {_words(cell, digits)}", cell.se)


def _bar(cell: Cell, digits: int) -> Point:
    return Point(cell.mean or 0.0, "bar", f"ours: {_words(cell, digits)}", cell.se)


def _words(cell: Cell, digits: int) -> str:
    ours, error, trials = _numbers(cell, digits)[:3]
    return f"{ours} ± {error}, {trials} trials" if error else f"{ours}, one trial"


def _numbers(cell: Cell, digits: int) -> tuple[str, ...]:
    """Ours, its standard error, trials, the published number, the difference, as texts."""
    return (
        "" if cell.mean is None else f"{cell.mean:.{digits}f}",
        "" if cell.se is None else f"{cell.se:.{digits}f}",
        str(cell.n),
        "" if cell.published is None else cell.published.text,
        "" if cell.difference is None else f"{cell.difference:+.{digits}f}",
    )
