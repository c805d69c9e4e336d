"""The page: a report's content, laid out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dfdgbench.results.html import VIEWS, view
from dfdgbench.results.report import plots, summary
from dfdgbench.results.report.content import Content, mapping
from dfdgbench.results.report.curves import HEIGHT, curves
from dfdgbench.results.report.details import details, number_cells, number_runs
from dfdgbench.results.report.images import class_words
from dfdgbench.results.report.template import GENERATOR, embedded, page
from dfdgbench.versions import code

__all__ = ["GENERATOR", "render"]

# A page whose runs are more shows the table of runs folded.
MOST_OPEN = 40


@dataclass(frozen=True)
class RunRow:
    """A run's line in the table of all runs."""

    number: int
    name: str
    state: str
    algorithm: str
    dataset: str
    held_out: str
    trial: str
    hparams_seed: str
    records: int


def render(content: Content, out: Path) -> str:
    """The report of ``content`` as a page; ``out`` is where it will be, which its own command says."""
    places, numbers = number_cells(content.tables), number_runs(content.runs)
    rows = _methods(content)
    own = content.tables[0]
    made_by, changed = summary.commands(content, out, code())
    tables = [view(table, shown) for table, shown in zip(content.tables, places, strict=True)]
    return page(
        "page.html",
        title=content.title,
        name=content.name,
        is_sweep=bool(content.sweep),
        folder=str(content.folder),
        description=own.description,
        start="both",
        views=tuple(VIEWS.items()) if any(table.views for table in tables) else (),
        states=summary.states(content),
        total=len(content.runs),
        code=summary.code(content),
        accesses=summary.accesses(content, rows),
        commands=made_by,
        remarks=_few([*content.remarks, *changed]),
        tables=tables,
        missing=[run for table in content.tables for run in table.missing],
        unplanned=own.unplanned,
        against=[figure for table in content.tables for figure in plots.against_published(table)],
        by_domain=plots.by_domain(own),
        ladder=plots.ladder(own, summary.settings_of(content)),
        curves=curves(content.runs, rows),
        curve_height=HEIGHT,
        strips=content.strips,
        class_words=class_words,
        failures=summary.failures(content, numbers),
        runs=[_run_row(number, content) for number in range(len(content.runs))],
        open_runs=len(content.runs) <= MOST_OPEN,
        data=embedded(details(content, numbers)),
    )


def _methods(content: Content) -> dict[str, str]:
    """Name of a run to the label of the first row that shows it, else of the row that it was planned for."""
    shown = {
        run: row.key
        for table in reversed(content.tables)
        for block in table.blocks
        for row in reversed(block.rows)
        for cell in row.cells
        for run in cell.runs
    }
    rows = mapping(content.sweep.get("spec")).get("rows", ())
    planned = {
        entry["id"]: str(mapping(rows[entry["row"]]).get("label", "")) for entry in content.sweep.get("runs", ())
    }
    found = {
        run.name: shown.get(run.name) or shown.get(run.folder.name) or planned.get(run.folder.name)
        for run in content.runs
    }
    return {run: label for run, label in found.items() if label}


def _run_row(number: int, content: Content) -> RunRow:
    run = content.runs[number]
    said = content.said[run.name]
    if said is None:
        return RunRow(number, run.name, content.states[run.name], "", "", "", "", "", len(run.records))
    held_out = ", ".join(map(str, said.test_envs))
    seeds = str(said.trial_seed), str(said.hparams_seed)
    return RunRow(
        number, run.name, content.states[run.name], said.algorithm, said.dataset, held_out, *seeds, len(run.records)
    )


def _few(remarks: list[str], most: int = 30) -> list[str]:
    """The first of many remarks, each short enough to be read."""
    shown = [remark if len(remark) < 1000 else f"{remark[:1000]}…" for remark in remarks[:most]]
    return [*shown, f"... and {len(remarks) - most} more."] if len(remarks) > most else shown
