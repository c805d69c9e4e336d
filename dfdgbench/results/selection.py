"""Selection: which record, and which hyper-parameters, a method is represented by.

A rule is a class in ``RULES``; one file in ``dfdgbench/results/rules``, or an outside package's entry point in the
group ``dfdgbench.rules``, adds one. Rules work on plain records, as they stand in results.jsonl.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, NamedTuple

from dfdgbench.registry import Registry, subclass_check
from dfdgbench.results.record import Record, hparams_seed, targets, value
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

    @classmethod
    def marked(cls, setting: str) -> bool:
        """Whether it uses more than the setting called ``setting`` allows."""
        return not cls.uses <= get_setting(setting).selection


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


def first_best(choices: Iterable[Choice]) -> Choice | None:
    """The first choice of the largest validation value, with DomainBed's (Python's) view of NaN: one that comes first
    is never displaced, any other never wins."""
    return max(choices, key=lambda choice: choice.validation, default=None)


def ranking(records: Iterable[Record], rule: Rule, predictor: str = "") -> list[tuple[int, Choice]]:
    """Hparams seeds with what the rule chose of each, best first; seeds without a choice are left out.

    Among equals the largest seed comes first, and NaN last (DomainBed's ``hparams_accs``). A rule that looks at nothing
    cannot tell configurations apart: the smallest seed, which is the defaults, comes first.
    """
    groups: dict[int, list[Record]] = {}
    for record in records:
        groups.setdefault(hparams_seed(record), []).append(record)
    chosen = [(seed, rule.choose(groups[seed], predictor)) for seed in sorted(groups)]
    found = [(seed, choice) for seed, choice in chosen if choice is not None]
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


def latest(records: Sequence[Record], validation: Callable[[Record], float]) -> Choice | None:
    """The record of the largest step, the last in order among equals, with its validation value."""
    if not records:
        return None
    record = max(reversed(records), key=lambda found: int(found["step"]))
    return Choice(validation(record), record)


def _nan_last(number: float) -> float:
    return -math.inf if math.isnan(number) else number
