"""Printed numbers: read from their CSV and placed in a table, each exactly once."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dfdgbench.errors import ConfigError, listing, unknown
from dfdgbench.tables.spec import PUBLISHED, Part
from dfdgbench.tables.spec import Published as Selection


@dataclass(frozen=True)
class Printed:
    """A published number.

    Attributes:
        value: in percent, or whatever the table is in.
        text: as it is printed, with its deviation where there is one.
    """

    value: float
    text: str


class Numbers:
    """The printed numbers of one part, by method and column.

    Raises:
        ConfigError: a number that fits no column, one that is there twice, or a selection without any.
    """

    def __init__(self, part: Part) -> None:
        self.methods: list[str] = []
        self._cells: dict[tuple[str, str], Printed] = {}
        columns = labels(part)
        for row in _selected(part.published) if part.published else ():
            self._place(row, part, columns)

    def of(self, method: str, column: str) -> Printed | None:
        """The number printed for ``method`` in ``column``."""
        return self._cells.get((method, column))

    def _place(self, row: dict[str, str], part: Part, columns: Sequence[str]) -> None:
        method, column = row["method"], row["column"]
        where = f"the part '{part.title}': '{method}', column '{column}', of {part.published and part.published.file}"
        if column not in columns:
            raise ConfigError(
                f"A published number has no place in {where}. The part's columns: {listing(columns)}. Name the column "
                "in 'columns' or 'average', or narrow 'where'."
            )
        if (method, column) in self._cells:
            raise ConfigError(f"Two published numbers have the same place in {where}. Narrow 'where'.")
        if method not in self.methods:
            self.methods.append(method)
        if row["value"]:
            self._cells[method, column] = Printed(float(row["value"]), _text(row))


def labels(part: Part) -> list[str]:
    """The printed labels of a part's columns, its average's last."""
    return [*part.columns.values(), *([part.average] if part.average else [])]


def _selected(published: Selection) -> Iterator[dict[str, str]]:
    path = PUBLISHED / published.file
    if not path.is_file():
        raise unknown(
            "file of published numbers", published.file, sorted(found.name for found in PUBLISHED.glob("*.csv"))
        )
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in published.where:
        if name not in (rows[0] if rows else {}):
            raise unknown(f"column of {published.file}", name, rows[0] if rows else [])
    chosen = [row for row in rows if all(row[name] == wanted for name, wanted in published.where.items())]
    if not chosen:
        raise ConfigError(
            f"No row of {published.file} has {_in_words(published.where)}. Change 'where' in the table spec."
        )
    yield from chosen


def _text(row: dict[str, str]) -> str:
    return f"{row['value']} ± {row['std']}" if row.get("std") else row["value"]


def _in_words(where: dict[str, str]) -> str:
    return " and ".join(f"{name} '{wanted}'" for name, wanted in where.items()) or "content"
