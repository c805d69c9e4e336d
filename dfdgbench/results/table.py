"""A published table, filled: ours as mean and standard error over trials, beside the printed numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfdgbench.errors import ConfigError
from dfdgbench.results import commands
from dfdgbench.results.fill import Filled, Missing, fill
from dfdgbench.results.published import Numbers, Printed, labels
from dfdgbench.results.slots import Slots, read_slots
from dfdgbench.results.trials import summary
from dfdgbench.tables.spec import Part, Row, TableSpec


@dataclass(frozen=True)
class Cell:
    """One cell, in percent.

    Attributes:
        mean: over trials; None where there is none yet.
        se: standard error of the mean; None for fewer than two trials.
        n: trials that entered.
        expected: trials that the table asks for; 0 in a quoted row.
        published: the printed number.
        marked: whether its rule or method used more than the setting grants (†).
    """

    mean: float | None = None
    se: float | None = None
    n: int = 0
    expected: int = 0
    published: Printed | None = None
    marked: bool = False


@dataclass(frozen=True)
class TableRow:
    """A row: a cell for each column of its block. ``quoted`` rows are printed numbers alone."""

    label: str
    cells: tuple[Cell, ...]
    quoted: bool = False
    note: str = ""

    @property
    def marked(self) -> bool:
        """Whether any of its cells is."""
        return any(cell.marked for cell in self.cells)


@dataclass(frozen=True)
class Block:
    """A part of the table: a title, the columns' labels, the rows."""

    title: str
    header: tuple[str, ...]
    rows: tuple[TableRow, ...]
    quoted: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table, filled as far as its runs are there.

    Attributes:
        ours: whether it was built from a sweep, not from published numbers alone.
        missing: planned runs whose results are not there.
        unplanned: how many runs the table asks for that the sweep has not planned.
        launch: the command that makes all of them; "" where nothing is missing.
    """

    name: str
    title: str
    description: str
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
    ours: bool = False
    missing: tuple[Missing, ...] = ()
    unplanned: int = 0
    launch: str = ""


def build(spec: TableSpec, sweep: str | Path | None = None) -> Table:
    """The table ``spec`` from the runs in the folder ``sweep``; without one, the published numbers alone.

    Raises:
        ConfigError: a published number without exactly one place, or a folder that is not this table's sweep.
    """
    _check_labels(spec)
    slots = None if sweep is None else read_slots(spec, Path(sweep))
    filled = {} if slots is None else _filled(spec, slots)
    missing = tuple(run for found in filled.values() for run in found.missing)
    unplanned = sum(found.unplanned for found in filled.values())
    blocks = [_block(spec, i, part, filled) for i, part in enumerate(spec.parts)]
    return Table(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        blocks=tuple(block for block in blocks if block.rows),
        notes=(*spec.notes, *_notes(spec, slots)),
        ours=slots is not None,
        missing=missing,
        unplanned=unplanned,
        launch=commands.launch(spec, slots, whole=unplanned > 0) if slots and (missing or unplanned) else "",
    )


def _filled(spec: TableSpec, slots: Slots) -> dict[tuple[int, int], Filled]:
    ran = [i for i, part in enumerate(spec.parts) if not part.quoted]
    return {(i, j): fill(spec, i, j, slots) for i in ran for j in range(len(spec.rows))}


def _check_labels(spec: TableSpec) -> None:
    kinds = {f"columns of '{part.title}'": labels(part) for part in spec.parts} | {
        "rows": [row.label for row in spec.rows]
    }
    for kind, found in kinds.items():
        twice = [label for label, count in Counter(found).items() if count > 1]
        if twice:
            raise ConfigError(
                f"The table '{spec.name}' has two {kind} called '{twice[0]}', so that its published numbers have no "
                "single place. Rename one."
            )


def _notes(spec: TableSpec, slots: Slots | None) -> list[str]:
    notes = [f"{row.label}: {row.note.rstrip('.')}." for row in spec.rows if row.note]
    if slots is not None and slots.superseded:
        shown = "; ".join(slots.superseded[:3]) + ("; ..." if len(slots.superseded) > 3 else "")
        notes.append(
            f"Runs of several configurations were planned for {len(slots.superseded)} cells; those planned last are "
            f"shown: {shown}."
        )
    return notes


def _block(spec: TableSpec, index: int, part: Part, filled: Mapping[tuple[int, int], Filled]) -> Block:
    numbers = Numbers(part)
    header = labels(part)
    printed_alone = part.quoted or not filled
    rows = []
    for j, row in enumerate(spec.rows):
        if printed_alone:
            cells = _quoted(row.label, header, numbers, row.oracle)
        else:
            cells = _cells(row, part, header, numbers, filled[index, j])
        if not printed_alone or row.label in numbers.methods:
            adapted = " (transductive)" if not printed_alone and filled[index, j].transductive else ""
            rows.append(TableRow(row.label + adapted, cells, printed_alone, row.note))
    known = {row.label for row in spec.rows}
    rows += [TableRow(name, _quoted(name, header, numbers), True) for name in numbers.methods if name not in known]
    return Block(part.title, tuple(header), tuple(rows), printed_alone, part.note)


def _quoted(method: str, header: Sequence[str], numbers: Numbers, marked: bool = False) -> tuple[Cell, ...]:
    return tuple(Cell(published=numbers.of(method, column), marked=marked) for column in header)


def _cells(row: Row, part: Part, header: Sequence[str], numbers: Numbers, filled: Filled) -> tuple[Cell, ...]:
    columns = [filled.values[domain] for domain in part.columns]
    if part.average:
        whole = set.intersection(*(set(values) for values in columns))
        columns.append({trial: sum(values[trial] for values in columns) / len(columns) for trial in sorted(whole)})
    cells = []
    for label, values in zip(header, columns, strict=True):
        found = summary(values.values())
        mean = found.mean if found.n else None
        printed, marked = numbers.of(row.label, label), row.oracle or filled.marked
        cells.append(Cell(mean, found.se, found.n, filled.expected, printed, marked))
    return tuple(cells)
