"""Selection: which record, and which hyper-parameters, a method is represented by.

A rule is a class in ``RULES``; one file in ``dfdgbench/results/rules``, or an outside package's entry point in the
group ``dfdgbench.rules``, adds one. A rule says what it chooses of plain records, as they stand in results.jsonl; one
that gives every record a number (``ScoreRule``) does so for a whole sweep at once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from dfdgbench.registry import Registry, subclass_check
from dfdgbench.results.ledger import Ledger
from dfdgbench.results.record import Record, hparams_seed, targets, value
from dfdgbench.results.scores import Floats, Rows, Scores, Shape, scores_of
from dfdgbench.settings import get_setting
from dfdgbench.tables.rules import RuleNeeds


class Choice(NamedTuple):
    """What a rule chose of one configuration's records.

    Attributes:
        validation: what configurations are compared by, a fraction; NaN loses against any number.
        record: the record whose test accuracy is reported.
    """

    validation: float
    record: Record

    def test(self, predictor: str = "") -> float:
        """Accuracy on the test split of the held-out domain, a fraction."""
        return value(self.record, targets(self.record)[0], "test", predictor=predictor)


class Member(NamedTuple):
    """A run's part in a configuration: its rows in the ledger."""

    shape: Shape
    rows: Rows


class Pick(NamedTuple):
    """What a rule chose of one configuration's rows."""

    validation: float
    row: int


Picker = Callable[[Sequence[Member], int], "Pick | None"]
"""From one configuration's runs and the held-out domain to what is chosen of them."""


class Rule(ABC):
    """How a record is chosen among those of one configuration (one trial, one hparams seed).

    Attributes:
        title: what tables call it; DomainBed's words for DomainBed's rules.
        uses: what it looks at, of "source validation", "target validation" and "synthetic hold-out"; empty: nothing.
        pairs: whether it needs runs that hold out two domains besides those that hold out one.
    """

    title: ClassVar[str]
    uses: ClassVar[frozenset[str]]
    pairs: ClassVar[bool] = False

    @abstractmethod
    def choose(self, records: Sequence[Record], predictor: str = "") -> Choice | None:
        """The chosen record; None where ``records`` do not suffice."""

    def picker(self, ledger: Ledger) -> Picker:
        """The same choice among rows of ``ledger``."""

        def pick(members: Sequence[Member], target: int) -> Pick | None:
            rows = [int(row) for member in members for row in member.rows]
            records = [ledger.record(row) for row in rows]
            choice = self.choose(records)
            if choice is None:
                return None
            place = next(i for i, record in enumerate(records) if record is choice.record)
            return Pick(choice.validation, rows[place])

        return pick

    @classmethod
    def marked(cls, setting: str) -> bool:
        """Whether it uses more than the setting called ``setting`` allows."""
        return not cls.uses <= get_setting(setting).selection


class ScoreRule(Rule):
    """A rule that gives every record of a run with one held-out domain a number, whatever the other records are.

    Attributes:
        best_step: whether the record of the largest number is chosen, the first among equals; else the last record,
            by whose number configurations are compared.
        needs_number: whether records without a number count for nothing. DomainBed's rules let one that comes first stay.
    """

    best_step: ClassVar[bool] = True
    needs_number: ClassVar[bool] = False

    @abstractmethod
    def validation(self, scores: Scores, predictor: str = "") -> Floats:
        """The number of every record [records]."""

    def choose(self, records: Sequence[Record], predictor: str = "") -> Choice | None:
        alone = single(records)
        if not alone:
            return None
        values = np.full(len(alone), np.nan)
        for places, scores in scores_of(alone):
            values[places] = self.validation(scores, predictor)
        place = self._place(values, np.array([record["step"] for record in alone]))
        return None if place is None else Choice(float(values[place]), alone[place])

    def picker(self, ledger: Ledger) -> Picker:
        values = ledger.spread(self.validation)

        def pick(members: Sequence[Member], target: int) -> Pick | None:
            alone = [member.rows for member in members if len(member.shape.targets) == 1]
            if not alone:
                return None
            rows = alone[0] if len(alone) == 1 else np.concatenate(alone)
            place = self._place(values[rows], ledger.steps[rows])
            return None if place is None else Pick(float(values[rows[place]]), int(rows[place]))

        return pick

    def _place(self, values: Floats, steps: Any) -> int | None:
        if self.needs_number:
            there = np.flatnonzero(~np.isnan(values))
            return int(there[np.argmax(values[there])]) if len(there) else None
        if not self.best_step:
            return len(steps) - 1 - int(np.argmax(steps[::-1]))  # the last in order among equal steps
        return first_best(values)


RULES: Registry[type[Rule]] = Registry(
    "selection rule", "dfdgbench.results.rules", "dfdgbench.rules", subclass_check("selection rule", Rule)
)


def get_rule(name: str) -> Rule:
    """The rule called ``name``."""
    return RULES.get(name)()


def needs() -> dict[str, RuleNeeds]:
    """What every rule needs of a sweep, by name."""
    return {name: RuleNeeds(rule.uses, rule.pairs) for name, rule in RULES.items()}


def single(records: Iterable[Record]) -> list[Record]:
    """The records of runs with exactly one held-out domain."""
    return [record for record in records if len(targets(record)) == 1]


def first_best(values: Floats) -> int:
    """Where the largest value stands first, with DomainBed's (Python's) view of NaN: one that comes first is never
    displaced, any other never wins."""
    if math.isnan(values[0]):
        return 0
    best = int(np.argmax(values))
    return best if not math.isnan(values[best]) else int(np.nanargmax(values))


def ranking(records: Iterable[Record], rule: Rule, predictor: str = "") -> list[tuple[int, Choice]]:
    """Hparams seeds with what the rule chose of each, best first; seeds without a choice are left out.

    Among equals the largest seed comes first, and NaN last (DomainBed's ``hparams_accs``). A rule that looks at nothing
    cannot tell configurations apart: the smallest seed, which is the defaults, comes first.
    """
    groups: dict[int, list[Record]] = {}
    for record in records:
        groups.setdefault(hparams_seed(record), []).append(record)
    chosen = [(seed, rule.choose(groups[seed], predictor)) for seed in sorted(groups)]
    return in_order(rule, [(seed, choice) for seed, choice in chosen if choice is not None])


Chosen = TypeVar("Chosen", Choice, Pick)


def in_order(rule: Rule, found: list[tuple[int, Chosen]]) -> list[tuple[int, Chosen]]:
    """What was chosen of each hparams seed, given in order of the seeds, best first."""
    if not rule.uses:
        return found
    return sorted(found, key=lambda pair: _nan_last(pair[1].validation))[::-1]


def best(records: Iterable[Record], rule: Rule, predictor: str = "") -> Choice | None:
    """What represents the records of one trial, method and held-out domain, over all their hparams seeds."""
    ranked = ranking(records, rule, predictor)
    return ranked[0][1] if ranked else None


def sweep_accuracy(records: Iterable[Record], rule: Rule, predictor: str = "") -> float | None:
    """Test accuracy of :func:`best`, a fraction (DomainBed's ``sweep_acc``); None where nothing can be chosen."""
    choice = best(records, rule, predictor)
    return None if choice is None else choice.test(predictor)


def _nan_last(number: float) -> float:
    return -math.inf if math.isnan(number) else number
