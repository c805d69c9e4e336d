"""What a sweep's runs say of one row of one part: a value for every trial, and what is still missing."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dfdgbench.results import commands
from dfdgbench.results.reading import Run
from dfdgbench.results.record import Record, facts, score_key, targets, value
from dfdgbench.results.selection import Rule, best, get_rule
from dfdgbench.results.slots import Slot, Slots
from dfdgbench.tables.spec import Column, Part, Row, TableSpec


@dataclass(frozen=True)
class Missing:
    """A planned run whose result is not there.

    Attributes:
        place: row, part and column, as printed.
        state: "planned", "running", "failed", ..., or "not evaluated" where the test data was not there.
        command: what makes it.
    """

    run: str
    place: str
    trial: int
    state: str
    command: str


class Chosen(NamedTuple):
    """What represents a trial: the record a rule chose, and the run that it is of."""

    record: Record
    run: Run


@dataclass(frozen=True)
class Filled:
    """One row of one part.

    Attributes:
        chosen: held-out domain to trial to what represents it; trials without a result are left out.
        expected: trials that the table asks for, or that were planned where these are more.
        marked: whether the row's rule looked at more than the setting of its runs allows.
        transductive: whether its runs adapted to the very images they are tested on.
        unplanned: how many runs the table asks for that the sweep has not planned.
    """

    chosen: Mapping[str, Mapping[int, Chosen]]
    expected: int
    marked: bool
    transductive: bool
    missing: tuple[Missing, ...]
    unplanned: int

    def values(self, column: Column, row: Row) -> dict[int, float]:
        """What the column shows of each trial that has all of the column's held-out domains, NaN left out."""
        per_target = [
            {trial: shown(found, column, row) for trial, found in self.chosen[target].items()}
            for target in column.targets
        ]
        whole = sorted(set.intersection(*(set(values) for values in per_target)))
        means = {trial: statistics.fmean(values[trial] for values in per_target) for trial in whole}
        return {trial: column.scale * mean for trial, mean in means.items() if not math.isnan(mean)}

    def behind(self, column: Column, trials: Iterable[int]) -> list[Chosen]:
        """What a column's values of ``trials`` were read from."""
        return [self.chosen[target][trial] for target in column.targets for trial in trials]


def shown(found: Chosen, column: Column, row: Row) -> float:
    """The column's value of one record, as it stands there; NaN where it is not."""
    record, predictor = found.record, column.predictor or row.predictor
    on = row.on if column.on == "target" else column.on
    if on == "run":
        number = record.get(f"{column.metric}@{predictor}" if predictor else column.metric)
        return float(number) if isinstance(number, int | float) else math.nan
    named = found.run.config.get("domains")
    domains, envs = list(map(str, named)) if isinstance(named, list) else [], list(targets(record))[:1]
    if on == "sources":
        trained = facts(record).train_envs
        envs = [
            env for env in range(len(domains)) if env not in targets(record) and (trained is None or env in trained)
        ]
    elif on != "target":
        envs = [domains.index(on)] if on in domains else []
    values = [_scored(record, env, column.metric, predictor) for env in envs]
    return statistics.fmean(values) if values else math.nan


def _scored(record: Record, env: int, metric: str, predictor: str) -> float:
    """A domain's value on the split that the protocol tests on. Of a source whose test split no record holds (the protocol
    "adaptation" scores sources on ``val`` alone), on its validation split."""
    tested = score_key(record["args"].get("protocol") or "domainbed", env, "test", metric, predictor)
    untested_source = tested not in record and env not in targets(record)
    return value(record, env, "validation" if untested_source else "test", metric, predictor)


def fill(spec: TableSpec, part: int, row: int, slots: Slots) -> Filled:
    """What the sweep has for row ``row`` of part ``part``."""
    whose = spec.rows[row]
    rule = get_rule(whose.selection or spec.selection)
    ran = row if whose.of is None else [other.key for other in spec.rows].index(whose.of)
    planned = {target: slots.of(part, ran, target) for target in spec.parts[part].targets}
    chosen = {target: _by_trial(cell, rule) for target, cell in planned.items()}
    slots_of_row = [slot for cell in planned.values() for slot in cell]
    trials = {target: {slot.trial for slot in cell if slot.alone} for target, cell in planned.items()}
    expected = max(spec.trials, len(set().union(*trials.values())))
    missing = [] if whose.of else [found for cell in planned.values() for found in _missing(spec, cell, slots)]
    return Filled(
        chosen=chosen,
        expected=expected,
        marked=_marked(rule, slots_of_row),
        transductive=any(
            record["args"].get("transductive") for slot in slots_of_row for record in slot.run.records[:1]
        ),
        missing=tuple({found.run: found for found in missing}.values()),  # a run of two domains is in both columns
        unplanned=0 if whose.of else sum(expected - len(there) for there in trials.values()),
    )


def _by_trial(cell: Sequence[Slot], rule: Rule) -> dict[int, Chosen]:
    trials: dict[int, list[Slot]] = defaultdict(list)
    for slot in cell:
        trials[slot.trial].append(slot)
    found = {}
    for trial, planned in trials.items():
        choice = best([record for slot in planned if slot.run.done for record in slot.run.records], rule)
        if choice is not None:
            run = next(slot.run for slot in planned if any(record is choice.record for record in slot.run.records))
            found[trial] = Chosen(choice.record, run)
    return found


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
            place = f"{spec.rows[slot.row].key}, {part.title}, {_printed(part, slot.column)}"
            found.append(Missing(slot.id, place, slot.trial, state, command))
    return found


def _printed(part: Part, target: str) -> str:
    """What the table calls a held-out domain: the label of a column that is about it alone, else its name."""
    about = (column.label for column in part.shown() if column.targets == [target] and column.on == "target")
    return next(about, target)


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
