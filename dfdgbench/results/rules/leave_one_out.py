"""Leave-one-domain-out cross-validation, over runs with two held-out domains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfdgbench.results.ledger import Ledger
from dfdgbench.results.record import Record, targets
from dfdgbench.results.scores import Floats, Rows, Scores, Shape, scores_of
from dfdgbench.results.selection import RULES, Choice, Member, Pick, Picker, Rule, first_best, single


@RULES.register("leave-one-domain-out")
class LeaveOneDomainOut(Rule):
    """Best mean accuracy on each source domain by the run that held it out as well (DomainBed's leave-one-out).

    Besides the run that holds out t it takes, for every source domain v, the run that holds out both t and v, and
    compares the steps at which all of them have a record.
    """

    title = "leave-one-domain-out cross-validation"
    uses = frozenset({"source validation"})
    pairs = True

    def choose(self, records: Sequence[Record], predictor: str = "") -> Choice | None:
        alone = single(records)
        if not alone:
            return None
        runs = []
        for places, scores in sorted(scores_of(records), key=lambda found: found[0]):
            steps = np.array([records[place]["step"] for place in places])
            tests = [_test(scores, number, predictor) for number in (0, 1)]
            runs.append(_Run(scores.shape, np.array(places), steps, tests, _domains(scores, predictor)))
        pick = _pick(runs, targets(alone[0])[0])
        return None if pick is None else Choice(pick.validation, records[pick.row])

    def picker(self, ledger: Ledger) -> Picker:
        first, second = (ledger.spread(partial(_test, number=number)) for number in (0, 1))
        domains = ledger.spread(_domains)

        def pick(members: Sequence[Member], target: int) -> Pick | None:
            if len(members) < 2:
                return None
            runs = [
                _Run(shape, rows, ledger.steps[rows], [first[rows], second[rows]], domains[rows])
                for shape, rows in members
            ]
            return _pick(runs, target)

        return pick


@dataclass(frozen=True, eq=False)
class _Run:
    """Records of one run, or of several of one shape.

    Attributes:
        tests: the accuracies on the first and on the second held-out domain.
        domains: how many domains each record has a validation accuracy of, counted as DomainBed counts them.
    """

    shape: Shape
    rows: Rows
    steps: NDArray[np.int64]
    tests: Sequence[Floats]
    domains: Floats


def _test(scores: Scores, number: int, predictor: str = "") -> Floats:
    held_out = scores.shape.targets
    if number >= len(held_out):
        return np.full(len(scores), np.nan)
    return scores.value(held_out[number], "test", predictor)


def _domains(scores: Scores, predictor: str = "") -> Floats:
    found = np.zeros(len(scores))
    for envs, rows in scores.domains("validation", predictor):
        found[rows] = len(envs)
    return found


def _pick(runs: Sequence[_Run], target: int) -> Pick | None:
    """The best step at which there is exactly one record of the run of ``target`` and all pairs have one."""
    alone = [run for run in runs if len(run.shape.targets) == 1]
    pairs = [run for run in runs if len(run.shape.targets) == 2 and target in run.shape.targets]
    if not alone or not pairs:
        return None
    steps, rows = _once(alone)
    last = max(max(run.shape.targets) for run in pairs)
    values = np.zeros((len(steps), max(last, target, *(alone[0].shape.sources or ())) + 1))
    there = np.zeros(values.shape, dtype=bool)
    there[:, target] = True
    for run in pairs:
        number = 1 - run.shape.targets.index(target)
        places, found = _at(steps, run.steps)
        values[places, run.shape.targets[number]] = run.tests[number][found]
        there[places, run.shape.targets[number]] = True
    validation = np.full(len(steps), np.nan)
    complete = np.zeros(len(steps), dtype=bool)
    for wanted, places in _wanted(alone[0].shape, runs, steps, target):
        if len(wanted) < 2 or wanted[-1] >= values.shape[1]:
            continue
        # Added as DomainBed adds, the held-out domain's zero among them, so that ties stay its ties.
        chosen = np.ix_(places, np.array(wanted, dtype=np.intp))
        validation[places] = values[chosen].sum(axis=1) / (len(wanted) - 1)
        complete[places] = there[chosen].all(axis=1)
    if not complete.any():
        return None
    best = first_best(validation[complete])
    return Pick(float(validation[complete][best]), int(rows[complete][best]))


def _once(runs: Sequence[_Run]) -> tuple[NDArray[np.int64], Rows]:
    """The steps of which there is exactly one record, in their order, and the rows of these."""
    if len(runs) == 1 and (runs[0].steps[1:] > runs[0].steps[:-1]).all():
        return runs[0].steps, runs[0].rows
    steps, rows = np.concatenate([run.steps for run in runs]), np.concatenate([run.rows for run in runs])
    unique, first, count = np.unique(steps, return_index=True, return_counts=True)
    return unique[count == 1], rows[first[count == 1]]


def _at(steps: NDArray[np.int64], of: NDArray[np.int64]) -> tuple[Any, Any]:
    """Where the records of a run stand in ``steps``, and which records these are."""
    if np.array_equal(steps, of):
        return slice(None), slice(None)
    places = np.searchsorted(steps, of)
    found = np.flatnonzero(places < len(steps))
    found = found[steps[places[found]] == of[found]]
    return places[found], found


def _wanted(
    alone: Shape, runs: Sequence[_Run], steps: NDArray[np.int64], target: int
) -> Iterator[tuple[list[int], Rows]]:
    """The held-out domain and the sources, ascending, with the steps at which these are to be there.

    The sources are those that the run names, else all domains that the first record of the step has.
    """
    if alone.sources is not None:
        yield sorted({target, *alone.sources}), np.arange(len(steps))
        return
    if all((run.domains == runs[0].domains[0]).all() for run in runs):
        yield sorted({target, *range(int(runs[0].domains[0]))}), np.arange(len(steps))
        return
    counts = np.zeros(len(steps))
    for run in reversed(runs):
        places, found = _at(steps, run.steps[::-1])
        counts[places] = run.domains[::-1][found]
    for count in np.unique(counts).tolist():
        yield sorted({target, *range(int(count))}), np.flatnonzero(counts == count)
