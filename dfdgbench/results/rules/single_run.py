"""Rules that look at runs with one held-out domain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfdgbench.results.record import NAN, Record, sources, targets, value
from dfdgbench.results.selection import RULES, Choice, Rule, first_best, latest, single


@RULES.register("training-domain")
class TrainingDomain(Rule):
    """Best mean accuracy on the source domains' validation splits, over all steps (DomainBed's IID)."""

    title = "training-domain validation set"
    uses = frozenset({"source validation"})

    def choose(self, records: Sequence[Record], predictor: str = "") -> Choice | None:
        return first_best(Choice(_source_validation(record, predictor), record) for record in single(records))


@RULES.register("oracle")
class Oracle(Rule):
    """The last step; configurations compared on the held-out domain's validation split (DomainBed's oracle)."""

    title = "test-domain validation set (oracle)"
    uses = frozenset({"target validation"})

    def choose(self, records: Sequence[Record], predictor: str = "") -> Choice | None:
        return latest(single(records), lambda record: _target_validation(record, predictor))


@RULES.register("oracle-best-step")
class OracleBestStep(Rule):
    """Steps and configurations compared on the held-out domain's validation split."""

    title = "test-domain validation set, best step (oracle)"
    uses = frozenset({"target validation"})

    def choose(self, records: Sequence[Record], predictor: str = "") -> Choice | None:
        return first_best(Choice(_target_validation(record, predictor), record) for record in single(records))


@RULES.register("last")
class Last(Rule):
    """The last record, looking at nothing; of several configurations, the defaults."""

    title = "last step"
    uses = frozenset()

    def choose(self, records: Sequence[Record], predictor: str = "") -> Choice | None:
        return latest(single(records), lambda record: NAN)


def _source_validation(record: Record, predictor: str) -> float:
    """Unweighted mean over the source domains; NaN without any."""
    values = [value(record, env, "validation", predictor=predictor) for env in sources(record, predictor=predictor)]
    return float(np.mean(values)) if values else NAN


def _target_validation(record: Record, predictor: str) -> float:
    return value(record, targets(record)[0], "validation", predictor=predictor)
