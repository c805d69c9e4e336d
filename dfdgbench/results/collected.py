"""Collected tables, and how they are written: markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import csv as csv_writer
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dfdgbench.results.groups import Method
from dfdgbench.results.latex import document, escape, items, tabular
from dfdgbench.results.render import DAGGER, grid, rounded
from dfdgbench.results.trials import Summary

NONE = "X"
_EMPTY = "No runs that this rule can choose from."


@dataclass(frozen=True)
class Line:
    """A method's row.

    Attributes:
        marked: whether the method or the rule looks at more than the method's setting grants.
        cells: in percent, one a column.
    """

    method: Method
    label: str
    marked: bool
    cells: tuple[Summary, ...]

    @property
    def average(self) -> float | None:
        """The mean of the row's cells; None where one is empty."""
        return sum(cell.mean for cell in self.cells) / len(self.cells) if all(cell.n for cell in self.cells) else None


@dataclass(frozen=True)
class Table:
    """Attributes:
    dataset: None for the averages, whose columns are datasets.
    """

    dataset: str | None
    columns: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def title(self) -> str:
        return "Averages" if self.dataset is None else f"Dataset: {self.dataset}"


@dataclass(frozen=True)
class RuleTables:
    """Attributes:
    tables: none where the rule could choose nothing.
    partial: methods of which some trial lacks a domain of a dataset.
    """

    rule: str
    title: str
    tables: Sequence[Table]
    partial: Sequence[str] = ()


@dataclass(frozen=True)
class Collected:
    """Attributes:
    records: how many were counted.
    remarks: a sentence each.
    """

    records: int
    rules: Sequence[RuleTables]
    remarks: Sequence[str]


def write(found: Collected, format: str) -> str:
    """The tables in ``format``: "markdown", "latex", "csv" or "json"."""
    return {"markdown": _markdown, "latex": _latex, "csv": _csv, "json": _json}[format](found)


def _texts(line: Line) -> list[str]:
    label = f"{line.label} {DAGGER}" if line.marked else line.label
    average = NONE if line.average is None else f"{line.average:.1f}"
    return [label, *map(_text, line.cells), average]


def _text(cell: Summary) -> str:
    if not cell.n:
        return NONE
    return f"{cell.mean:.1f}" + ("" if cell.se is None else f" ± {cell.se:.1f}")


def _header(table: Table) -> list[str]:
    return ["Algorithm", *table.columns, "Avg"]


def _markdown(found: Collected) -> str:
    parts = [f"Total records: {found.records}"]
    for rule in found.rules:
        parts.append(f"## Model selection: {rule.title}")
        parts += [] if rule.tables else [_EMPTY]
        for table in rule.tables:
            parts += [f"### {table.title}", grid(_header(table), list(map(_texts, table.lines)))]
    return "\n\n".join([*parts, *_listed(found.remarks)]) + "\n"


def _listed(remarks: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {remark}" for remark in remarks)] if remarks else []


def _latex(found: Collected) -> str:
    parts = [f"% Total records: {found.records}"]
    for rule in found.rules:
        parts.append(rf"\section*{{Model selection: {escape(rule.title)}}}")
        parts += [] if rule.tables else [escape(_EMPTY)]
        for table in rule.tables:
            parts += [
                rf"\subsection*{{{escape(table.title)}}}",
                tabular(_header(table), list(map(_texts, table.lines))),
            ]
    return document([*parts, *items(found.remarks)])


def _cells(found: Collected) -> Iterator[dict[str, Any]]:
    """Every cell by itself; None for what is not there."""
    for rule in found.rules:
        for table in rule.tables:
            for line in table.lines:
                whose = {
                    "rule": rule.rule, "table": table.dataset or "Averages", "algorithm": line.method.algorithm,
                    "network": line.method.network, "variant": line.method.variant, "protocol": line.method.protocol,
                    "sources": line.method.sources, "options": line.method.options, "marked": line.marked,
                }  # fmt: skip
                for column, cell in zip(table.columns, line.cells, strict=True):
                    yield whose | {"column": column, "mean": rounded(cell.mean), "se": rounded(cell.se), "n": cell.n}
                yield whose | {"column": "Avg", "mean": rounded(line.average), "se": None, "n": None}


def _csv(found: Collected) -> str:
    """One line a cell, in percent; remarks are no part of it."""
    text = io.StringIO()
    rows = list(_cells(found))
    names = ["rule", "table", "algorithm", "network", "variant", "protocol", "sources", "options", "marked"]
    writer = csv_writer.DictWriter(text, [*names, "column", "mean", "se", "n"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        numbers = {name: "" if row[name] is None else f"{row[name]:.4f}" for name in ("mean", "se")}
        writer.writerow(row | numbers | {"marked": str(row["marked"]).lower()})
    return text.getvalue()


def _json(found: Collected) -> str:
    """``records``, ``cells`` (in percent, null for nothing), ``remarks``."""
    content = {"records": found.records, "cells": list(_cells(found)), "remarks": list(found.remarks)}
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
