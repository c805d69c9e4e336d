"""What a sweep's runs say of one row of one part: a value for every trial, and what is still missing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dfdgbench.results import commands
from dfdgbench.results.record import facts
from dfdgbench.results.selection import Rule, best, get_rule
from dfdgbench.results.slots import Slot, Slots
from dfdgbench.tables.spec import TableSpec


@dataclass(frozen=True)
class Missing:
    """A planned run whose result is not there.

    Attributes:
        place: row, part and column, as printed.
        state: "absent", "running", "failed", ..., or "not evaluated" where the test data was not there.
        command: what makes it.
    """

    run: str
    place: str
    trial: int
    state: str
    command: str


@dataclass(frozen=True)
class Filled:
    """One row of one part.

    Attributes:
        values: domain to trial to test accuracy in percent; trials without one are left out.
        expected: trials that the table asks for, or that were planned where these are more.
        marked: whether the row's rule looked at more than the setting of its runs allows.
        transductive: whether its runs adapted to the very images they are tested on.
        unplanned: how many runs the table asks for that the sweep has not planned.
    """

    values: Mapping[str, Mapping[int, float]]
    expected: int
    marked: bool
    transductive: bool
    missing: tuple[Missing, ...]
    unplanned: int


def fill(spec: TableSpec, part: int, row: int, slots: Slots) -> Filled:
    """What the sweep has for row ``row`` of part ``part``."""
    rule = get_rule(spec.rows[row].selection or spec.selection)
    values: dict[str, dict[int, float]] = {}
    missing: list[Missing] = []
    planned = {column: slots.of(part, row, column) for column in spec.parts[part].columns}
    for column, cell in planned.items():
        values[column] = _by_trial(cell, rule)
        missing += _missing(spec, cell, slots)
    slots_of_row = [slot for cell in planned.values() for slot in cell]
    trials = {
        column: {slot.trial for slot in cell if len(slot.config["test_envs"]) == 1} for column, cell in planned.items()
    }
    expected = max(spec.trials, len(set().union(*trials.values())))
    return Filled(
        values=values,
        expected=expected,
        marked=_marked(rule, slots_of_row),
        transductive=any(
            record["args"].get("transductive") for slot in slots_of_row for record in slot.run.records[:1]
        ),
        missing=tuple({found.run: found for found in missing}.values()),  # a run of two domains is in both columns
        unplanned=sum(expected - len(there) for there in trials.values()),
    )


def _by_trial(cell: Sequence[Slot], rule: Rule) -> dict[int, float]:
    trials: dict[int, list[Slot]] = defaultdict(list)
    for slot in cell:
        trials[slot.trial].append(slot)
    values = {}
    for trial, planned in trials.items():
        choice = best([record for slot in planned if slot.run.done for record in slot.run.records], rule)
        accuracy = choice.test() if choice is not None else math.nan
        if not math.isnan(accuracy):
            values[trial] = 100 * accuracy
    return values


def _marked(rule: Rule, planned: Sequence[Slot]) -> bool:
    settings = {facts(record).setting for slot in planned for record in slot.run.records[:1]}
    if not settings:
        return "target validation" in rule.uses
    return any(rule.marked(setting) for setting in settings)


def _missing(spec: TableSpec, cell: Sequence[Slot], slots: Slots) -> list[Missing]:
    found = []
    for slot in cell:
        state, command = _wanting(slot, slots)
        if state:
            part = spec.parts[slot.part]
            place = f"{spec.rows[slot.row].label}, {part.title}, {part.columns[slot.column]}"
            found.append(Missing(slot.id, place, slot.trial, state, command))
    return found


def _wanting(slot: Slot, slots: Slots) -> tuple[str, str]:
    """What a run still wants and the command for it; two empty texts where it wants nothing."""
    if not slot.run.done:
        return slot.run.state, commands.train(slot.config, slot.folder, slots.content.get("execution", {}))
    if not slot.run.records:
        return "without records", commands.train(slot.config, slot.folder, slots.content.get("execution", {}))
    choice = best(slot.run.records, get_rule("last"))
    if choice is not None and math.isnan(choice.test()):
        return "not evaluated", commands.evaluate(slot.config, slot.folder)
    return "", ""
