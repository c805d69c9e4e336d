"""Leave-one-domain-out cross-validation, over runs with two held-out domains."""

from __future__ import annotations

from collections.abc import Sequence

from dfdgbench.results.record import Record, consecutive, sources, targets, value
from dfdgbench.results.selection import RULES, Choice, Rule, first_best, single


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
        by_step: dict[int, list[Record]] = {}
        for record in records:
            by_step.setdefault(int(record["step"]), []).append(record)
        choices = (_at_step(by_step[step], predictor) for step in sorted(by_step))
        return first_best(choice for choice in choices if choice is not None)


def _at_step(records: Sequence[Record], predictor: str) -> Choice | None:
    alone = single(records)
    if len(alone) != 1:
        return None
    target = targets(alone[0])[0]
    by_domain = {}
    for record in records:
        held_out = targets(record)
        if len(held_out) == 2 and target in held_out:
            (other,) = set(held_out) - {target}
            by_domain[other] = value(record, other, "test", predictor=predictor)
    wanted = _wanted(records, alone[0], target, predictor)
    if not wanted or not set(wanted) <= by_domain.keys():
        return None
    return Choice(sum(by_domain[env] for env in wanted) / len(wanted), alone[0])


def _wanted(records: Sequence[Record], alone: Record, target: int, predictor: str) -> list[int]:
    if alone["args"].get("train_envs") is not None:
        return sources(alone, predictor=predictor)
    return [env for env in consecutive(records[0], "validation", predictor) if env != target]
