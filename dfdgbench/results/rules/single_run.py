"""Rules that look at runs with one held-out domain."""

from __future__ import annotations

import numpy as np

from dfdgbench.results.record import SYNTHETIC_KEY
from dfdgbench.results.scores import Floats, Scores
from dfdgbench.results.selection import RULES, ScoreRule


@RULES.register("training-domain")
class TrainingDomain(ScoreRule):
    """Best mean accuracy on the source domains' validation splits, over all steps (DomainBed's IID)."""

    title = "training-domain validation set"
    uses = frozenset({"source validation"})

    def validation(self, scores: Scores, predictor: str = "") -> Floats:
        return scores.source_validation(predictor)


@RULES.register("oracle")
class Oracle(ScoreRule):
    """The last step; configurations compared on the held-out domain's validation split (DomainBed's oracle)."""

    title = "test-domain validation set (oracle)"
    uses = frozenset({"target validation"})
    best_step = False

    def validation(self, scores: Scores, predictor: str = "") -> Floats:
        return scores.target("validation", predictor)


@RULES.register("oracle-best-step")
class OracleBestStep(ScoreRule):
    """Steps and configurations compared on the held-out domain's validation split."""

    title = "test-domain validation set, best step (oracle)"
    uses = frozenset({"target validation"})

    def validation(self, scores: Scores, predictor: str = "") -> Floats:
        return scores.target("validation", predictor)


@RULES.register("last")
class Last(ScoreRule):
    """The last record, looking at nothing; of several configurations, the defaults."""

    title = "last step"
    uses = frozenset()
    best_step = False

    def validation(self, scores: Scores, predictor: str = "") -> Floats:
        return np.full(len(scores), np.nan)


@RULES.register("synthetic-holdout")
class SyntheticHoldOut(ScoreRule):
    """Best agreement of student and teachers on held-out synthetic images, over all steps: not one image is looked at.

    Of runs with ``distillation.holdout``, which keep a share of the images they distil on.
    """

    title = "synthetic hold-out"
    uses = frozenset({"synthetic hold-out"})
    needs_number = True

    def validation(self, scores: Scores, predictor: str = "") -> Floats:
        return scores.column(f"{SYNTHETIC_KEY}@{predictor}" if predictor else SYNTHETIC_KEY)
