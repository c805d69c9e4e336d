"""Source only: the released segmentation model as it is."""

from __future__ import annotations

from typing import Any

from dfdgbench.algorithms.adaptation import SFDA_PAPER, OfSource, Segmenting
from dfdgbench.algorithms.base import register
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import PredictorStage
from dfdgbench.settings import UNSUPERVISED_ADAPTATION
from dfdgbench.stages.adapt import Unadapted


@register("SourceOnly", setting=UNSUPERVISED_ADAPTATION, paper=SFDA_PAPER)
class SourceOnly(Segmenting):
    """No adaptation: cross-entropy on labelled source images; every other method of segmentation starts from it."""

    Hparams = OfSource

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        return Unadapted(problem, cls.source_model(problem, hparams))
