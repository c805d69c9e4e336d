"""A published table, filled: ours as mean and standard error over trials, beside the printed numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dfdgbench.results import commands
from dfdgbench.results.best import mark_best
from dfdgbench.results.blocks import Block, Cell, Table, TableRow
from dfdgbench.results.fill import Filled, fill
from dfdgbench.results.layout import arranged
from dfdgbench.results.machines import device, precision
from dfdgbench.results.published import Numbers
from dfdgbench.results.reading import Run
from dfdgbench.results.slots import Slots, read_slots
from dfdgbench.results.trials import summary
from dfdgbench.tables.checks import check_layout
from dfdgbench.tables.spec import Column, Part, Row, TableSpec

__all__ = ["Block", "Cell", "Table", "TableRow", "build"]


def build(spec: TableSpec, sweep: str | Path | None = None) -> Table:
    """The table ``spec`` from the runs in the folder ``sweep``; without one, the published numbers alone.

    Raises:
        ConfigError: names in the spec that do not go together, a published number without exactly one place, or a folder
            that is not this table's sweep.
    """
    check_layout(spec)
    slots = None if sweep is None else read_slots(spec, Path(sweep))
    filled = {} if slots is None else _filled(spec, slots)
    missing = tuple(run for found in filled.values() for run in found.missing)
    unplanned = sum(found.unplanned for found in filled.values())
    parts = mark_best(_part(spec, i, part, filled) for i, part in enumerate(spec.parts))
    return Table(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        blocks=arranged(spec, parts),
        notes=(*spec.notes, *_notes(spec, slots)),
        ours=slots is not None,
        missing=missing,
        unplanned=unplanned,
        launch=commands.launch(slots, whole=unplanned > 0) if slots and (missing or unplanned) else "",
        parts=parts,
    )


def _filled(spec: TableSpec, slots: Slots) -> dict[tuple[int, int], Filled]:
    places = [
        (i, j)
        for i, part in enumerate(spec.parts)
        for j, row in enumerate(spec.rows)
        if not part.quoted and not row.quoted and spec.stands(row, part)
    ]
    return {(i, j): fill(spec, i, j, slots) for i, j in places}


def _notes(spec: TableSpec, slots: Slots | None) -> list[str]:
    notes = [f"{row.key}: {row.note.rstrip('.')}." for row in spec.rows if row.note]
    quoted = list(dict.fromkeys(row.label for row in spec.rows if row.quoted))
    if quoted:
        notes.append(f"Quoted as published, and run by nobody here: {', '.join(quoted)}.")
    if slots is not None and slots.superseded:
        shown = "; ".join(slots.superseded[:3]) + ("; ..." if len(slots.superseded) > 3 else "")
        notes.append(
            f"Runs of several configurations were planned for {len(slots.superseded)} cells; those planned last are "
            f"shown: {shown}."
        )
    return notes


def _part(spec: TableSpec, index: int, part: Part, filled: Mapping[tuple[int, int], Filled]) -> Block:
    numbers, shown = Numbers(spec, part), part.printed()
    rows = []
    for j, row in enumerate(spec.rows):
        found = filled.get((index, j))
        if found is not None:
            label = row.label + " (transductive)" * found.transductive
            cells = _cells(row, part, shown, numbers, found)
            rows.append(TableRow(label, cells, False, row.note, row.group, name=row.label))
            continue
        cells = tuple(Cell(published=numbers.of(row, column), marked=row.oracle) for column in shown)
        if any(cell.published for cell in cells):
            rows.append(TableRow(row.label, cells, True, row.note, row.group))
    notes = (f"{part.title}: {part.note}",) if part.note else ()
    return Block(part.title, tuple(shown), tuple(rows), ((part.title, len(shown)),), part.quoted or not filled, notes)


def _cells(row: Row, part: Part, shown: Sequence[Column], numbers: Numbers, filled: Filled) -> tuple[Cell, ...]:
    values = [filled.values(column, row) for column in part.shown()]
    if len(shown) > len(values):
        whole = set.intersection(*(set(found) for found in values))
        values.append({trial: sum(found[trial] for found in values) / len(values) for trial in sorted(whole)})
    cells = []
    for column, found in zip(shown, values, strict=True):
        if not row.fills(column):
            cells.append(Cell())
            continue
        over_trials, behind = summary(found.values()), filled.behind(column, found)
        steps = {chosen.run.folder.name: int(chosen.record["step"]) for chosen in behind}
        cells.append(
            Cell(
                mean=over_trials.mean if over_trials.n else None,
                se=over_trials.se,
                n=over_trials.n,
                expected=filled.expected,
                published=numbers.of(row, column),
                marked=row.oracle or filled.marked,
                values=found,
                runs=tuple(steps),
                steps=tuple(steps.values()),
                mixed=_mixed(chosen.run for chosen in behind),
            )
        )
    return tuple(cells)


def _mixed(runs: Iterable[Run]) -> str:
    """What differs of the devices and precisions that runs were computed with."""
    configs = [run.config for run in runs]
    said = [sorted({of(config) for config in configs} - {""}) for of in (device, precision)]
    return "; ".join(", ".join(found) for found in said if len(found) > 1)
