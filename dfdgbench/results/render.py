"""Tables as text: GitHub's markdown, LaTeX (booktabs), CSV; and the list of what is missing."""

from __future__ import annotations

import csv as csv_writer
import io
from collections.abc import Sequence

from tabulate import tabulate

from dfdgbench.results.latex import document, escape, items, tabular
from dfdgbench.results.table import Cell, Table, TableRow

DAGGER = "†"
NOTHING = "—"


def markdown(table: Table) -> str:
    """A GitHub table a block, then notes and legend."""
    parts = [f"## {table.title}"]
    if table.description:
        parts.append(table.description)
    for block in table.blocks:
        parts.append(f"### {block.title}")
        parts.append(grid(["Method", *block.header], [[_label(row), *_cells(row)] for row in block.rows]))
    lines = [*_notes(table), _legend(table)]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in lines if line)]) + "\n"


def latex(table: Table) -> str:
    """A document that compiles by itself (booktabs is all it needs); each table in it can be copied out."""
    parts = [rf"\section*{{{escape(table.title)}}}"]
    for block in table.blocks:
        rows = [[_label(row), *_cells(row)] for row in block.rows]
        parts.append(rf"\subsection*{{{escape(block.title)}}}")
        parts.append(tabular(["Method", *block.header], rows))
    return document([*parts, *items([*_notes(table), _legend(table)])])


def csv(table: Table) -> str:
    """One line a cell: part, row, column, mean, se, n, published, marked; in percent, empty where there is none."""
    text = io.StringIO()
    writer = csv_writer.writer(text, lineterminator="\n")
    writer.writerow(["part", "row", "column", "mean", "se", "n", "published", "marked"])
    for block in table.blocks:
        for row in block.rows:
            for column, cell in zip(block.header, row.cells, strict=True):
                published = None if cell.published is None else cell.published.value
                numbers = [_number(cell.mean), _number(cell.se), cell.n, published]
                writer.writerow([block.title, row.label, column, *numbers, str(cell.marked).lower()])
    return text.getvalue()


def missing(table: Table, most: int | None = 3) -> list[str]:
    """Lines that say which runs are missing and what to type: for all of them at once, then for each.

    Args:
        most: of single runs to list; None for all.
    """
    if not table.missing and not table.unplanned:
        return []
    lines = [f"{_runs(len(table.missing))} planned, without a result yet."] if table.missing else []
    if table.unplanned:
        lines.append(f"{_runs(table.unplanned)} that the table asks for, not planned in this sweep.")
    lines.append(f"All at once: {table.launch}")
    shown = table.missing if most is None else table.missing[:most]
    for run in shown:
        lines.append(f"{run.place}, trial {run.trial} ({run.state}): {run.command}")
    if len(shown) < len(table.missing):
        lines.append(f"... and {len(table.missing) - len(shown)} more: --missing lists them all.")
    return lines


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub table, its first column to the left, all others to the right."""
    clean = [[text.replace("|", "\\|") for text in row] for row in [header, *rows]]
    align = ("left", *("right",) * (len(header) - 1))
    return tabulate(clean[1:], headers=clean[0], tablefmt="pipe", colalign=align, disable_numparse=True)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _label(row: TableRow) -> str:
    return f"{row.label} {DAGGER}" if row.marked else row.label


def _cells(row: TableRow) -> list[str]:
    return [_cell(cell, row.quoted) for cell in row.cells]


def _cell(cell: Cell, quoted: bool) -> str:
    printed = f"({cell.published.text})" if cell.published is not None else ""
    if quoted:
        return printed or NOTHING
    ours = NOTHING if cell.mean is None else f"{cell.mean:.1f}" + ("" if cell.se is None else f" ± {cell.se:.1f}")
    trials = f"[{cell.n}/{cell.expected}]" if 0 < cell.n < cell.expected else ""
    return " ".join(text for text in (ours, trials, printed) if text)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _notes(table: Table) -> list[str]:
    notes = [*table.notes, *(f"{block.title}: {block.note}" for block in table.blocks if block.note)]
    empty = sum(cell.expected > 0 and cell.n == 0 for cell in _all_cells(table))
    short = sum(0 < cell.n < cell.expected for cell in _all_cells(table))
    if short:
        notes.append(f"Incomplete: {short} cells have fewer trials than the table asks for; [2/3]: two of three.")
    if empty:
        notes.append(f"Incomplete: {empty} cells have no trial yet.")
    return notes


def _legend(table: Table) -> str:
    cells = _all_cells(table)
    said = []
    if table.ours:
        said.append("mean ± standard error over trials, in percent")
    if any(cell.published is not None for cell in cells):
        said.append("in parentheses: as published")
    if any(cell.marked for cell in cells):
        said.append(f"{DAGGER}: the method or its selection looked at more than its setting grants")
    text = "; ".join(said)
    return text[:1].upper() + text[1:] + "." if text else ""


def _all_cells(table: Table) -> list[Cell]:
    return [cell for block in table.blocks for row in block.rows for cell in row.cells]
