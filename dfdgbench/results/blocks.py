"""What a filled table is made of: cells, in rows, in blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from dfdgbench.results.fill import Missing
from dfdgbench.results.published import Printed
from dfdgbench.tables.spec import Column


@dataclass(frozen=True)
class Cell:
    """One cell, in percent, or whatever its column is in.

    Attributes:
        mean: over trials; None where there is none yet.
        se: standard error of the mean; None for fewer than two trials.
        n: trials that entered.
        expected: trials that the table asks for; 0 where nothing of ours belongs.
        published: the printed number.
        marked: whether its rule or method used more than the setting grants (†).
        values: trial to value.
        runs: names of the runs behind it, folders below the sweep's.
        steps: of each of these runs, the step of the record that was chosen.
        mixed: how the runs behind it differ in what computed them; "" where they do not.
        best: whether it is the best of its column, or not significantly worse.
    """

    mean: float | None = None
    se: float | None = None
    n: int = 0
    expected: int = 0
    published: Printed | None = None
    marked: bool = False
    values: Mapping[int, float] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    mixed: str = ""
    best: bool = False

    @property
    def shows(self) -> bool:
        """Whether anything belongs here, printed or ours."""
        return self.published is not None or self.expected > 0

    @property
    def difference(self) -> float | None:
        """Ours minus the published number; None where either is not there, or they are not finite."""
        if self.mean is None or self.published is None:
            return None
        difference = self.mean - self.published.value
        return difference if math.isfinite(difference) else None


@dataclass(frozen=True)
class TableRow:
    """A row: a cell for each column of its block. ``quoted`` rows are printed numbers alone.

    Attributes:
        label: as printed.
        name: its label in the spec, where that is another.
    """

    label: str
    cells: tuple[Cell, ...]
    quoted: bool = False
    note: str = ""
    group: str = ""
    name: str = ""

    @property
    def key(self) -> str:
        """What names it within the table."""
        name = self.name or self.label
        return f"{self.group}: {name}" if self.group else name

    @property
    def marked(self) -> bool:
        """Whether all of its cells are that show anything."""
        shown = [cell for cell in self.cells if cell.shows]
        return bool(shown) and all(cell.marked for cell in shown)


@dataclass(frozen=True)
class Block:
    """Parts of a table that stand side by side: a title, the columns, the rows.

    Attributes:
        parts: what stands above the columns, and above how many; "" for nothing. A part that stands alone has the
            block's title.
        corner: what the first column holds.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    parts: tuple[tuple[str, int], ...]
    quoted: bool = False
    notes: tuple[str, ...] = ()
    corner: str = "Method"

    @property
    def header(self) -> tuple[str, ...]:
        """A label for every column that no other has: with what stands above it, where that differs."""
        labels = [column.label for column in self.columns]
        if not self.above:
            return tuple(labels)
        titles = [title for title, count in self.parts for _ in range(count)]
        return tuple(f"{title} {label}".strip() for title, label in zip(titles, labels, strict=True))

    @property
    def above(self) -> tuple[tuple[str, int], ...]:
        """``parts``, where they make a line of their own in the printed table."""
        return self.parts if len(self.parts) > 1 and any(title for title, _ in self.parts) else ()


@dataclass(frozen=True)
class Table:
    """A table, filled as far as its runs are there.

    Attributes:
        parts: a block a part, its rows the spec's; ``blocks`` are these as they are printed.
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
    parts: tuple[Block, ...] = ()
