"""Selection rules: DomainBed's own unit vectors, and vectors made by running DomainBed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from result_builders import TARGET as T
from result_builders import record

from dfdgbench.errors import UnknownNameError
from dfdgbench.results.record import SPLITS, value
from dfdgbench.results.selection import RULES, Choice, Rule, best, get_rule, ranking, sweep_accuracy

NAN = float("nan")
IID, ORACLE, LOO = "training-domain", "oracle", "leave-one-domain-out"


class First(Rule):
    """DomainBed's test double: validation and test accuracy of the first record's domain 0."""

    title = "first"
    uses = frozenset({"target validation"})

    def choose(self, records: Sequence[Any], predictor: str = "") -> Choice | None:
        return Choice(value(records[0], 0, "validation"), records[0])


def chosen(rule: str, records: Sequence[Any]) -> tuple[float, float] | None:
    choice = get_rule(rule).choose(records)
    return None if choice is None else (choice.validation, choice.test())


def iid(step: int, validation: float, test: float, seed: int = 0) -> dict[str, Any]:
    return record(step, seed, (test, 0.0, T), (0.0, validation))


TRIPLE = [
    record(0, 0, (0.1, 0.0, T), (0.0, 0.0), (0.0, 0.0)),
    record(0, 0, (0.0, 0.0, T), (0.5, 0.0, T), (0.0, 0.0)),
    record(0, 0, (0.0, 0.0, T), (0.0, 0.0), (0.6, 0.0, T)),
]


def test_sweep_takes_the_configuration_of_best_validation_accuracy() -> None:
    assert sweep_accuracy([record(0, 0, (0.7, 0.8, T)), record(0, 1, (0.9, 0.5, T))], First()) == 0.7


@pytest.mark.parametrize("rule", [IID, ORACLE, LOO, "oracle-best-step", "last"])
def test_nothing_is_chosen_of_nothing(rule: str) -> None:
    assert chosen(rule, []) is None
    assert sweep_accuracy([], get_rule(rule)) is None


@pytest.mark.parametrize(
    ("rule", "records", "expected"),
    [
        pytest.param(
            ORACLE, [record(0, 0, (0.75, 0.70, T)), record(1, 0, (0.65, 0.60, T))], (0.60, 0.65), id="last, not best"
        ),
        pytest.param(
            ORACLE, [record(0, 0, (0.75, 0.70, T)), record(1, 0, (0.85, 0.80, T))], (0.80, 0.85), id="last and best"
        ),
        pytest.param(
            ORACLE, [record(5, 0, (0.3, 0.5, T)), record(5, 0, (0.9, 0.1, T))], (0.1, 0.9), id="last of equal steps"
        ),
        pytest.param(
            IID,
            [record(0, 0, (0.1, 0.2, T), (0.5, 0.6), (0.6, 0.7)), record(1, 0, (0.3, 0.4, T), (0.6, 0.7), (0.7, 0.8))],
            (0.75, 0.3),
            id="mean of sources",
        ),
        pytest.param(IID, [iid(0, 0.5, 0.1), iid(1, 0.5, 0.2), iid(2, 0.5, 0.3)], (0.5, 0.1), id="first of tied steps"),
        pytest.param(
            IID, [iid(2, 0.5, 0.3), iid(0, 0.5, 0.1), iid(1, 0.5, 0.2)], (0.5, 0.3), id="first in order of the list"
        ),
        pytest.param(IID, [iid(0, NAN, 0.3), iid(1, 0.9, 0.4)], (NAN, 0.3), id="NaN first is never displaced"),
        pytest.param(IID, [iid(0, 0.2, 0.3), iid(1, NAN, 0.4)], (0.2, 0.3), id="NaN elsewhere never wins"),
        pytest.param(IID, [record(0, 0, (0.4, 0.9, T))], (NAN, 0.4), id="one domain: the mean of nothing"),
        pytest.param(LOO, TRIPLE, (0.55, 0.1), id="complete"),
    ],
)
def test_choice_within_a_configuration(rule: str, records: list[Any], expected: tuple[float, float]) -> None:
    assert chosen(rule, records) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("rule", "records"),
    [
        pytest.param(IID, [record(0, 0, (0.1, 0.2, T), (0.3, 0.4, T), (0.5, 0.6))], id="two held-out domains"),
        pytest.param(LOO, TRIPLE[:2], id="a pair is missing"),
        pytest.param(LOO, [*TRIPLE, TRIPLE[0]], id="the single run twice"),
        pytest.param(LOO, TRIPLE[1:], id="no single run"),
    ],
)
def test_no_choice(rule: str, records: list[Any]) -> None:
    assert chosen(rule, records) is None


def test_leave_one_out_takes_the_steps_that_all_runs_have() -> None:
    later = [{**found, "step": 1, "env0_in_acc": 0.9} for found in TRIPLE[:2]]
    assert chosen(LOO, [*TRIPLE, *later]) == pytest.approx((0.55, 0.1))


def test_leave_one_out_ignores_runs_of_three_held_out_domains() -> None:
    assert chosen(LOO, [*TRIPLE[:2], record(0, 0, (0, 0, T), (0, 0, T), (0.6, 0, T))]) is None


def test_ties_go_to_the_largest_hparams_seed() -> None:
    tied = [iid(0, 0.5, test, seed) for seed, test in enumerate((0.0, 0.1, 0.2))]
    assert sweep_accuracy(tied, get_rule(IID)) == 0.2
    assert [seed for seed, _ in ranking(tied, get_rule(IID))] == [2, 1, 0]


def test_configurations_without_a_number_come_last() -> None:
    assert sweep_accuracy([iid(0, NAN, 0.3, 0), iid(0, 0.1, 0.4, 1)], get_rule(IID)) == 0.4
    assert sweep_accuracy([iid(0, 0.1, 0.4, 0), iid(0, NAN, 0.3, 1)], get_rule(IID)) == 0.4


def test_last_takes_the_defaults_of_several_configurations() -> None:
    records = [iid(0, 0.1, 0.1, 0), iid(9, 0.2, 0.2, 0), iid(9, 0.9, 0.9, 1)]
    assert sweep_accuracy(records, get_rule("last")) == 0.2


def test_oracle_of_the_best_step() -> None:
    records = [record(0, 0, (0.75, 0.70, T)), record(1, 0, (0.65, 0.60, T))]
    assert chosen("oracle-best-step", records) == (0.70, 0.75)


def test_sources_that_a_record_names_are_the_only_ones() -> None:
    found = record(0, 0, (0.1, 0.2, T), (0.5, 0.6), (0.6, 0.9))
    found["args"]["train_envs"] = [1]
    assert chosen(IID, [found]) == (0.6, 0.1)


def test_leave_one_out_needs_the_named_sources_alone() -> None:
    records = [{**found, "args": {**found["args"], "train_envs": [1]}} for found in TRIPLE[:2]]
    assert chosen(LOO, records) == (0.5, 0.1)


def test_other_protocols_have_other_splits() -> None:
    found = record(0, 0, (0.0, 0.0, T), (0.0, 0.0))
    found["args"]["protocol"] = "official"
    found |= {"env0_test_acc": 0.3, "env0_val_acc": 0.4, "env1_val_acc": 0.8}
    assert chosen(IID, [found]) == (0.8, 0.3)
    assert chosen(ORACLE, [found]) == (0.4, 0.3)


def test_unknown_protocol_is_named() -> None:
    found = record(0, 0, (0.0, 0.0, T))
    found["args"]["protocol"] = "offical"
    with pytest.raises(UnknownNameError, match="official"):
        get_rule(IID).choose([found])


def test_other_predictors() -> None:
    found = record(0, 0, (0.1, 0.2, T), (0.5, 0.6))
    found |= {"env0_in_acc@soup": 0.7, "env0_out_acc@soup": 0.1, "env1_out_acc@soup": 0.9}
    choice = get_rule(IID).choose([found], "soup")
    assert choice is not None
    assert (choice.validation, choice.test("soup")) == (0.9, 0.7)


def test_missing_test_accuracy_is_nan() -> None:
    found = record(0, 0, (0.1, 0.2, T))
    del found["env0_in_acc"]
    choice = best([found], get_rule("last"))
    assert choice is not None
    assert math.isnan(choice.test())


@pytest.mark.parametrize(
    ("rule", "setting", "marked"),
    [
        (IID, "domain-generalisation", False),
        (LOO, "domain-generalisation", False),
        (ORACLE, "domain-generalisation", True),
        (IID, "data-free", True),
        ("last", "data-free", False),
        ("last", "source-free", False),
        ("oracle-best-step", "distilled", True),
    ],
)
def test_rules_are_marked_where_they_use_more_than_is_granted(rule: str, setting: str, marked: bool) -> None:
    assert get_rule(rule).marked(setting) is marked


def test_every_rule_says_what_it_is() -> None:
    assert set(RULES.names()) == {IID, ORACLE, "oracle-best-step", "last", LOO, "synthetic-holdout"}
    for name in RULES.names():
        assert RULES.get(name).title
        assert RULES.get(name).__doc__
    with pytest.raises(UnknownNameError, match="oracle"):
        get_rule("orakle")


def test_splits_are_those_of_the_protocols() -> None:
    from dfdgbench.datasets.protocols import PROTOCOLS

    assert {name: tuple(splits) for name, splits in SPLITS.items()} == {
        name: (protocol.train, protocol.validation, protocol.test) for name, protocol in PROTOCOLS.items()
    }
