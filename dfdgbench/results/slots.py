"""A sweep's runs, each in its place of the table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dfdgbench.engine.keys import canonical
from dfdgbench.errors import ConfigError
from dfdgbench.results.reading import SWEEP, Run, read_object, read_run
from dfdgbench.tables.spec import Part, TableSpec

# What may differ among the runs of one cell; data_dir is no part of a run's identity.
_SEEDS = {"trial_seed", "hparams_seed", "hparams_trial", "seed", "data_dir", "test_envs"}


@dataclass(frozen=True)
class Slot:
    """A run that the sweep has planned, and its place.

    Attributes:
        part, row: indices into the spec's parts and rows.
        column: the domain, as in the part's ``columns``. A run that holds out two has a slot in the columns of both.
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
    content = read_object(sweep / SWEEP)
    if "spec" not in content or "runs" not in content:
        raise ConfigError(f"{sweep} is no sweep's folder: it has no {SWEEP}. `dfdgbench sweep launch` makes one.")
    planned = content["spec"]
    if planned["name"] != spec.name:
        raise ConfigError(
            f"The folder {sweep} holds the sweep '{planned['name']}', not '{spec.name}'. "
            f"Type: dfdgbench table {planned['name']} {sweep}"
        )
    cells: dict[tuple[int, int, str], list[Slot]] = defaultdict(list)
    for slot in _placed(spec, planned, content["runs"], sweep):
        cells[slot.part, slot.row, slot.column].append(slot)
    kept = {place: _last_configuration(slots) for place, slots in cells.items()}
    several = [
        f"{spec.rows[row].label}, {spec.parts[part].title}, {spec.parts[part].columns[column]}"
        for (part, row, column), slots in cells.items()
        if len(kept[part, row, column]) < len(slots)
    ]
    return Slots(sweep, content, kept, tuple(several))


def _placed(
    spec: TableSpec, planned: Mapping[str, Any], entries: list[Mapping[str, Any]], sweep: Path
) -> Iterable[Slot]:
    """Runs by title and label, not by index: the spec may have been edited since."""
    parts = {(part.title, part.dataset): i for i, part in enumerate(spec.parts) if not part.quoted}
    rows = {row.label: j for j, row in enumerate(spec.rows)}
    held_out: dict[int, dict[Any, None]] = defaultdict(dict)
    for entry in entries:
        held_out[entry["part"]][entry["config"]["test_envs"][0]] = None
    for entry in entries:
        old = planned["parts"][entry["part"]]
        part, row = parts.get((old["title"], old["dataset"])), rows.get(planned["rows"][entry["row"]]["label"])
        if part is None or row is None:
            continue
        column = _column(entry, spec.parts[part], list(held_out[entry["part"]]))
        for domain in (column, *entry.get("also", ())):
            if domain in spec.parts[part].columns:
                yield Slot(part, row, domain, entry["id"], entry["config"], sweep / "runs" / entry["id"])


def _column(entry: Mapping[str, Any], part: Part, held_out: Sequence[Any]) -> str:
    """The domain that a planned run holds out, as in its part's ``columns``.

    A sweep plans a part's columns in their order, so that the n-th domain held out in a part is its n-th column. Where
    only some were planned, numbers count as positions, which holds where a spec lists the domains in the dataset's
    order. The order is the given spec's: sweep.json is written with sorted keys.
    """
    if "column" in entry:
        return str(entry["column"])
    env, names = entry["config"]["test_envs"][0], list(part.columns)
    if env in names:
        return str(env)
    position = held_out.index(env) if len(held_out) == len(names) else int(env)
    if not 0 <= position < len(names):
        raise ConfigError(
            f"The run {entry['id']} holds out domain {env} of {part.dataset}, which is no column of '{part.title}'. "
            "List the dataset's domains in 'columns', and launch the sweep again."
        )
    return names[position]


def _last_configuration(slots: list[Slot]) -> list[Slot]:
    """The runs of the configuration that was planned last, where a sweep was launched again with other options."""
    last = _identity(slots[-1])
    kept = [slot for slot in slots if _identity(slot) == last]
    return sorted(kept, key=lambda slot: (slot.trial, int(slot.config.get("hparams_seed", 0))))


def _identity(slot: Slot) -> str:
    return canonical({name: given for name, given in slot.config.items() if name not in _SEEDS})
