"""Tables as text: GitHub's markdown, LaTeX (booktabs), CSV, JSON; and the list of what is missing."""

from __future__ import annotations

import csv as csv_writer
import io
import json as json_writer
import math
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

from tabulate import tabulate

from dfdgbench.results.latex import Bold, document, escape, items, tabular
from dfdgbench.results.table import Block, Cell, Table, TableRow

DAGGER = "†"
DOUBLE_DAGGER = "‡"
SECTION = "§"
NOTHING = "—"


def markdown(table: Table, *, diff: bool = False) -> str:
    """A GitHub table a block, then notes and legend.

    Args:
        diff: show ours minus the published number instead of both, of the rows that have runs.
    """
    parts = [f"## {table.title}"]
    if table.description:
        parts.append(table.description)
    for block in _blocks(table, diff):
        parts += [f"### {block.title}", grid([block.corner, *block.header], _rows(block, diff))]
    lines = [*footnotes(table), legend(table, diff)]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in lines if line)]) + "\n"


def latex(table: Table, *, diff: bool = False) -> str:
    """A document that compiles by itself; each table in it can be copied out (it needs booktabs and graphicx)."""
    parts = [rf"\section*{{{escape(table.title)}}}"]
    for block in _blocks(table, diff):
        header = [block.corner, *(column.label for column in block.columns)]
        parts.append(rf"\subsection*{{{escape(block.title)}}}")
        parts.append(tabular(header, _rows(block, diff), block.above))
    return document([*parts, *items([*footnotes(table), legend(table, diff)])])


def csv(table: Table, *, diff: bool = False) -> str:
    """One line a cell: block, row, column, ours, the published number, and the marks; empty where there is none."""
    lines = cells(table)
    text = io.StringIO()
    writer = csv_writer.DictWriter(text, list(lines[0]) if lines else ["block", "row", "column"], lineterminator="\n")
    writer.writeheader()
    for line in lines:
        written = {name: "" if value is None else value for name, value in line.items()}
        writer.writerow(written | {"runs": " ".join(line["runs"]), "marked": str(line["marked"]).lower()})
    return text.getvalue()


def json(table: Table, *, diff: bool = False) -> str:
    """The table's names, its cells as in :func:`cells`, its notes, and what is missing."""
    content = {
        "name": table.name,
        "title": table.title,
        "cells": cells(table),
        "notes": footnotes(table),
        "missing": [vars(run) for run in table.missing],
    }
    return json_writer.dumps(content, indent=2, ensure_ascii=False) + "\n"


def cells(table: Table) -> list[dict[str, Any]]:
    """Every cell: where it stands; mean, se, n over trials; the published number, the difference; the marks."""
    return [
        {
            "block": block.title,
            "row": row.key,
            "column": column,
            "mean": rounded(cell.mean),
            "se": rounded(cell.se),
            "n": cell.n,
            "expected": cell.expected,
            "published": None if cell.published is None else cell.published.text,
            "difference": rounded(cell.difference),
            "marked": cell.marked,
            "mixed": cell.mixed,
            "runs": list(cell.runs),
        }
        for block in table.blocks
        for row in block.rows
        for column, cell in zip(block.header, row.cells, strict=True)
    ]


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


def grid(header: Sequence[str], rows: Sequence[Sequence[str]], left: Container[int] = (0,)) -> str:
    """A GitHub table, the columns in ``left`` to the left, all others to the right; a row of one cell is a sub-heading."""
    width = len(header)
    clean = [[_in_markdown(text, len(row) == 1) for text in row] + [""] * (width - len(row)) for row in [header, *rows]]
    align = ["left" if column in left else "right" for column in range(width)]
    return tabulate(clean[1:], headers=clean[0], tablefmt="pipe", colalign=align, disable_numparse=True)


def text_of(cell: Cell, digits: int, diff: bool = False) -> str:
    """A cell as tables show it: ours with its error, trials where some lack, and the printed number in parentheses."""
    note = SECTION * bool(cell.published is not None and cell.published.note)
    trials = f"[{cell.n}/{cell.expected}]" if 0 < cell.n < cell.expected else ""
    mixed = DOUBLE_DAGGER * bool(cell.mixed)
    if diff:
        return NOTHING if cell.difference is None else f"{_difference(cell, digits)}{mixed}{note} {trials}".rstrip()
    printed = f"({cell.published.text}){note}" if cell.published is not None else ""
    ours = _number(cell.mean, cell.se, digits) if cell.expected else ""
    return " ".join(text for text in (ours + mixed, trials, printed) if text) or NOTHING


def _difference(cell: Cell, digits: int) -> str:
    return f"{cell.difference:+.{digits}f}" + ("" if cell.se is None else f" ± {cell.se:.{digits}f}")


def _number(mean: float | None, se: float | None, digits: int) -> str:
    if mean is None:
        return NOTHING
    return f"{mean:.{digits}f}" + ("" if se is None else f" ± {se:.{digits}f}")


def _blocks(table: Table, diff: bool) -> list[Block]:
    """The blocks; without rows of printed numbers alone where differences are shown."""
    if not diff:
        return list(table.blocks)
    ours = [replace(block, rows=tuple(row for row in block.rows if not row.quoted)) for block in table.blocks]
    return [block for block in ours if block.rows]


def _rows(block: Block, diff: bool) -> list[list[str]]:
    rows: list[list[str]] = []
    group = ""
    for row in block.rows:
        if row.group != group:
            rows += [[row.group]] if row.group else []
            group = row.group
        rows.append([_label(row), *_cells(block, row, diff)])
    return rows


def _cells(block: Block, row: TableRow, diff: bool) -> list[str]:
    texts = []
    for column, cell in zip(block.columns, row.cells, strict=True):
        mark = f" {DAGGER}" if cell.marked and cell.shows and not row.marked else ""
        texts.append((Bold if _bold(cell, diff) else str)(text_of(cell, column.digits, diff) + mark))
    return texts


def _bold(cell: Cell, diff: bool) -> bool:
    """Whether a cell is bold: where differences are shown, one without is not."""
    return cell.best and not (diff and cell.difference is None)


def _in_markdown(text: str, heading: bool) -> str:
    clean = text.replace("|", "\\|")
    if heading:
        return f"*{clean}*"
    if not isinstance(text, Bold):
        return clean
    number, rest = Bold(clean).parts()
    return f"**{number}**{rest}"


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _label(row: TableRow) -> str:
    return f"{row.label} {DAGGER}" if row.marked else row.label


def rounded(value: float | None) -> float | None:
    """To four decimals; None for what is not finite, which JSON lacks."""
    return None if value is None or not math.isfinite(value) else round(value, 4)


def footnotes(table: Table) -> list[str]:
    """The notes of the table and its cells, and how many cells are not full."""
    notes = [*table.notes, *(note for block in table.blocks for note in block.notes)]
    mixed: dict[str, list[str]] = {}
    for block in table.blocks:
        for row in block.rows:
            for column, cell in zip(block.header, row.cells, strict=True):
                where = f"{block.title}, {row.key}, {column}"
                if cell.published is not None and cell.published.note:
                    notes.append(f"{SECTION} {where}: {cell.published.note}")
                if cell.mixed:
                    mixed.setdefault(cell.mixed, []).append(where)
    for reason, places in mixed.items():
        more = f"; and {len(places) - 2} more" if len(places) > 2 else ""
        notes.append(f"{DOUBLE_DAGGER} Runs by {reason}: {'; '.join(places[:2])}{more}.")
    empty = sum(cell.expected > 0 and cell.n == 0 for cell in _all_cells(table))
    short = sum(0 < cell.n < cell.expected for cell in _all_cells(table))
    if short:
        notes.append(f"Incomplete: {short} cells have fewer trials than the table asks for; [2/3]: two of three.")
    if empty:
        notes.append(f"Incomplete: {empty} cells have no trial yet.")
    return notes


def legend(table: Table, diff: bool) -> str:
    """What the signs in the table mean, in a sentence; "" where there is nothing to say."""
    found = _all_cells(table)
    said = []
    if diff:
        if all(cell.difference is None for cell in found):
            return "No cell has both a result of ours and a published number; without --diff the table shows what there is."
        said.append("ours minus the published number ± our standard error over trials")
    elif table.ours:
        percent = all(column.percent for block in table.blocks for column in block.columns)
        said.append("mean ± standard error over trials" + ", in percent" * percent)
    if any(cell.published is not None for cell in found) and not diff:
        said.append("in parentheses: as published")
    if any(_bold(cell, diff) for cell in found):
        said.append("bold: the best of ours, and what is not significantly worse")
    if any(cell.marked for cell in found):
        said.append(f"{DAGGER}: the method or its selection looked at more than its setting grants")
    text = "; ".join(said)
    return text[:1].upper() + text[1:] + "." if text else ""


def _all_cells(table: Table) -> list[Cell]:
    return [cell for block in table.blocks for row in block.rows for cell in row.cells]
