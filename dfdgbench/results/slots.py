"""A sweep's runs, each in its place of the table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dfdgbench.engine.keys import canonical
from dfdgbench.errors import ConfigError
from dfdgbench.results.reading import Run, read_run
from dfdgbench.tables.spec import TableSpec, merged
from dfdgbench.tables.sweepfile import read_sweep_file

# What may differ among the runs of one cell; data_dir is no part of a run's identity.
_SEEDS = {"trial_seed", "hparams_seed", "hparams_trial", "seed", "data_dir", "test_envs"}


@dataclass(frozen=True)
class Slot:
    """A run that the sweep has planned, and its place.

    Attributes:
        part, row: indices into the spec's parts and rows.
        column: the held-out domain, one of the part's targets. A run that holds out two has a slot for both.
        config: its ``RunConfig`` as planned, in JSON.
    """

    part: int
    row: int
    column: str
    id: str
    config: Mapping[str, Any]
    folder: Path

    @property
    def trial(self) -> int:
        return int(self.config["trial_seed"])

    @property
    def alone(self) -> bool:
        """Whether it holds out one domain."""
        return len(self.config["test_envs"]) == 1

    @cached_property
    def run(self) -> Run:
        """What is on disk of it."""
        return read_run(self.folder)


@dataclass(frozen=True)
class Slots:
    """All of a sweep's runs that have a place in the table.

    Attributes:
        folder: the sweep's.
        content: sweep.json.
        superseded: titles of cells for which runs of several configurations were planned; the last planned is kept.
    """

    folder: Path
    content: Mapping[str, Any]
    cells: Mapping[tuple[int, int, str], list[Slot]]
    superseded: tuple[str, ...] = ()

    def of(self, part: int, row: int, column: str) -> list[Slot]:
        """The runs of one cell, in order of trial and hparams seed."""
        return self.cells.get((part, row, column), [])


def read_slots(spec: TableSpec, sweep: Path) -> Slots:
    """The runs of the sweep in the folder ``sweep``.

    Raises:
        ConfigError: the folder is no sweep's, or is another table's.
    """
    content = read_sweep_file(sweep)
    planned = content["spec"]
    if planned["name"] not in (spec.name, *spec.shows):
        raise ConfigError(
            f"The folder {sweep} holds the sweep '{planned['name']}', not '{spec.name}'. "
            f"Type: dfdgbench table {planned['name']} {sweep}"
        )
    cells: dict[tuple[int, int, str], list[Slot]] = defaultdict(list)
    for slot in _placed(spec, planned, content["runs"], sweep):
        cells[slot.part, slot.row, slot.column].append(slot)
    kept = {place: _last_configuration(slots) for place, slots in cells.items()}
    several = [
        f"{spec.rows[row].key}, {spec.parts[part].title}, {column}"
        for (part, row, column), slots in cells.items()
        if len(kept[part, row, column]) < len(slots)
    ]
    return Slots(sweep, content, kept, tuple(several))


def _placed(
    spec: TableSpec, planned: Mapping[str, Any], entries: list[Mapping[str, Any]], sweep: Path
) -> Iterable[Slot]:
    places = places_of(spec, planned)
    for entry in entries:
        for part, row in places.get((entry["part"], entry["row"]), ()):
            for domain in (entry["column"], *entry.get("also", ())):
                if domain in spec.parts[part].targets:
                    yield Slot(part, row, domain, entry["id"], entry["config"], sweep / "runs" / entry["id"])


def places_of(spec: TableSpec, planned: Mapping[str, Any]) -> Mapping[tuple[int, int], list[tuple[int, int]]]:
    """Part and row of the sweep's table, to parts and rows of ``spec`` that show the runs from there.

    By title and label, not by index: the spec may have been edited since. Another table calls them otherwise: there it is
    what is said of the runs themselves that must be the same.
    """
    name = _title if planned["name"] == spec.name else _declared
    content = spec.model_dump()
    here = defaultdict(list)
    for i, part in enumerate(content["parts"]):
        for j, row in spec.run_rows():
            if not part["quoted"] and spec.stands(row, spec.parts[i]):
                here[name(content, part, content["rows"][j])].append((i, j))
    return {
        (i, j): here[name(planned, part, row)]
        for i, part in enumerate(planned["parts"])
        for j, row in enumerate(planned["rows"])
        if name(planned, part, row) in here
    }


def _title(spec: Mapping[str, Any], part: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    return canonical([part["title"], part["dataset"], row.get("group", ""), row["label"]])


def _declared(spec: Mapping[str, Any], part: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """What a spec says of the runs of one row and part."""
    said = {name: merged(*(layer.get(name) or {} for layer in (spec, part, row))) for name in ("options", "hparams")}
    return canonical([part["dataset"], row["algorithm"], said])


def _last_configuration(slots: list[Slot]) -> list[Slot]:
    """The runs of the configuration that was planned last, where a sweep was launched again with other options."""
    last = _identity(slots[-1])
    kept = [slot for slot in slots if _identity(slot) == last]
    return sorted(kept, key=lambda slot: (slot.trial, int(slot.config.get("hparams_seed", 0))))


def _identity(slot: Slot) -> str:
    return canonical({name: given for name, given in slot.config.items() if name not in _SEEDS})
