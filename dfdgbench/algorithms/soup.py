"""Soup: the teachers' weights averaged."""

from __future__ import annotations

from typing import Any

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.data_free import DataFree, TeacherHparams
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import PredictorStage
from dfdgbench.hparams import group
from dfdgbench.settings import DATA_FREE
from dfdgbench.stages.combine import Soup as SoupStage
from dfdgbench.stages.invert import Inversion


@register("Soup", setting=DATA_FREE, paper=Paper("Wortsman et al. 2022, Model soups", arxiv="2203.05482"))
class Soup(DataFree):
    """Control: average the teachers' weights, with batch-normalisation statistics of the inverted images.

    It costs no distillation. The teachers of a trial share their initial weights, without which an average is noise.
    """

    class Hparams(TeacherHparams):
        inversion: Inversion = group(Inversion, doc="the images for the statistics")

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        teachers = cls.teachers(problem, hparams)
        sets = cls.inverted(problem, teachers, hparams.inversion)
        return SoupStage(teachers, list(sets.values()), problem)
