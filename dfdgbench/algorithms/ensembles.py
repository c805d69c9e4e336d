"""DEKAN's baselines without training: AvgPred, HighestConf, BestTeacher."""

from __future__ import annotations

from typing import Any

from dfdgbench.algorithms.base import register
from dfdgbench.algorithms.data_free import DEKAN_PAPER, DataFree
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import PredictorStage
from dfdgbench.settings import DATA_FREE
from dfdgbench.stages.combine import Candidates, Combine


@register("AvgPred", setting=DATA_FREE, paper=DEKAN_PAPER)
class AvgPred(DataFree):
    """Average the teachers' probabilities: the class of the highest mean of softmax(T_i(x)), temperature 1."""

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        return Combine(cls.teachers(problem, hparams), problem, "average")


@register("HighestConf", setting=DATA_FREE, paper=DEKAN_PAPER)
class HighestConf(DataFree):
    """Take the prediction of the teacher whose softmax has the lowest entropy; of several, the first."""

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        return Combine(cls.teachers(problem, hparams), problem, "lowest entropy")


@register("BestTeacher", setting=DATA_FREE, paper=DEKAN_PAPER)
class BestTeacher(DataFree):
    """The one teacher that does best on the held-out domain's validation split: an oracle, and marked as one.

    The teachers are scored one by one (``env0_in_acc@photo``); the choice among them is made where the records are
    written, so that no stage ever sees the held-out domain.
    """

    oracle = True

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        return Candidates(cls.teachers(problem, hparams), problem)
