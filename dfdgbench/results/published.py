"""Printed numbers: read from their CSV and placed in a table, each exactly once."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dfdgbench.errors import ConfigError, listing, unknown
from dfdgbench.tables.spec import PUBLISHED, Column, Part, Row, TableSpec
from dfdgbench.tables.spec import Published as Selection

Printing = Mapping[str, str]


@dataclass(frozen=True)
class Printed:
    """A published number.

    Attributes:
        value: in percent, or whatever the table is in.
        text: as it is printed, with its deviation where there is one.
        note: what is known to be wrong with it; "" for nothing.
    """

    value: float
    text: str
    note: str = ""


class Numbers:
    """The printed numbers of one part: a cell's is the one row of the CSV that has what part, row and column name.

    Raises:
        ConfigError: a number that fits no cell or more than one, a cell that fits more than one number, or a selection
            without any.
    """

    def __init__(self, spec: TableSpec, part: Part) -> None:
        self._cells: dict[tuple[str, str], Printed] = {}
        if part.published is None:
            return
        places: dict[int, tuple[str, str]] = {}
        printed = _selected(part.published)
        for column in part.printed():
            _check_names(part.published.file, printed, column.where or {})
        for row in spec.rows:
            if spec.stands(row, part):
                _check_names(part.published.file, printed, row.where or {})
            for column in part.printed():
                self._place(spec, part, row, column, printed, places)
        left = [line for number, line in enumerate(printed) if number not in places]
        if left:
            raise ConfigError(
                f"A published number has no place in {_where(part, left[0])}. Rows: "
                f"{listing(row.key for row in spec.rows)}. Columns: {listing(column.label for column in part.printed())}. Add a "
                "row or a column (`where` ties it to the file's), or narrow the part's 'where'."
            )

    def of(self, row: Row, column: Column) -> Printed | None:
        """The number printed in a cell."""
        return self._cells.get((row.key, column.label))

    def _place(
        self,
        spec: TableSpec,
        part: Part,
        row: Row,
        column: Column,
        printed: Sequence[Printing],
        places: dict[int, tuple[str, str]],
    ) -> None:
        if not spec.stands(row, part) or not row.fills(column):
            return
        wanted = row.numbers | column.numbers
        found = [number for number, line in enumerate(printed) if wanted.items() <= line.items()]
        if len(found) > 1:
            raise ConfigError(
                f"Two published numbers have the same place in {_where(part, printed[found[1]])}. {_NARROW}"
            )
        for number in found:
            if number in places:
                raise ConfigError(f"A published number has two places in {_where(part, printed[number])}. {_NARROW}")
            places[number] = (row.key, column.label)
            if printed[number]["value"]:
                self._cells[row.key, column.label] = _printed(printed[number], _misprint(spec, part, row, column))


_NARROW = "Narrow 'where' of the part, the row or the column."


def _misprint(spec: TableSpec, part: Part, row: Row, column: Column) -> str:
    for known in spec.misprints:
        if (known.row, known.column) == (row.key, column.label) and known.part in ("", part.title):
            return known.note
    return ""


def _selected(published: Selection) -> list[Printing]:
    rows = _read(published.file)
    _check_names(published.file, rows, published.where)
    chosen = [row for row in rows if all(row[name] == wanted for name, wanted in published.where.items())]
    if not chosen:
        raise ConfigError(
            f"No row of {published.file} has {_in_words(published.where)}. Change 'where' in the table spec."
        )
    return chosen


def _read(file: str) -> tuple[Printing, ...]:
    path = PUBLISHED / file
    if not path.is_file():
        raise unknown("file of published numbers", file, sorted(found.name for found in PUBLISHED.glob("*.csv")))
    return _parsed(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _parsed(path: str, changed: int) -> tuple[Printing, ...]:
    """The file's lines, as text; ``changed`` is a part of the cache's key alone."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = [_facts(row.get("setting") or "") | row for row in csv.DictReader(file, restkey="", restval="")]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"The published numbers in {path} cannot be read as a CSV in UTF-8: {error}") from error
    for number, line in enumerate(lines, 2):
        value = line.get("value")
        if value is None or (value and not _is_number(value)) or "" in line:
            raise ConfigError(
                f"Line {number} of the published numbers in {path} is none: it needs a number under 'value' (given: {value!r}), "
                "and no more fields than the header. Columns are those that 'where' names, value, and std where one is printed."
            )
    return tuple(lines)


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def _facts(setting: str) -> dict[str, str]:
    """What ``IPC=50;squeeze=R-18`` says, by name."""
    named = [fact.split("=", 1) for fact in setting.split(";") if "=" in fact]
    return {name.strip(): value.strip() for name, value in named}


def _check_names(file: str, lines: Sequence[Printing], where: Mapping[str, str]) -> None:
    names = list(dict.fromkeys(name for line in lines for name in line))
    for name in where:
        if name not in names:
            raise unknown(f"column of {file}", name, names)


def _printed(row: Printing, note: str) -> Printed:
    text = f"{row['value']} ± {row['std']}" if row.get("std") else row["value"]
    return Printed(float(row["value"]), text, note)


def _where(part: Part, line: Printing) -> str:
    file = part.published.file if part.published else ""
    return f"the part '{part.title}': '{line.get('method', '')}', column '{line.get('column', '')}', of {file}"


def _in_words(where: Mapping[str, str]) -> str:
    return " and ".join(f"{name} '{wanted}'" for name, wanted in where.items()) or "content"
