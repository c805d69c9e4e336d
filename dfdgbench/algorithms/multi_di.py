"""Multi-DI: DeepInversion of every teacher, distilled into one student."""

from __future__ import annotations

from typing import Any

from dfdgbench.algorithms.base import register
from dfdgbench.algorithms.data_free import DEKAN_PAPER, DataFree, SynthesisHparams, dekan_images
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import PredictorStage
from dfdgbench.settings import DATA_FREE
from dfdgbench.stages.distil import Distil


@register("Multi-DI", setting=DATA_FREE, paper=DEKAN_PAPER)
class MultiDI(DataFree):
    """Invert each teacher and distil from these images alone: DEKAN without its second stage.

    It takes as many steps as DEKAN does, unless ``distillation.match`` is "epochs".
    """

    channels = (3,)

    Hparams = SynthesisHparams

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        teachers = cls.teachers(problem, hparams)
        sets = cls.inverted(problem, teachers, hparams.inversion)
        images = len(teachers) * hparams.inversion.images
        reference = dekan_images(len(teachers), hparams.inversion.images)
        return Distil(
            teachers, list(sets.values()), problem, hparams.distillation, images=images, reference_images=reference
        )


@register("Multi-DI-matched", setting=DATA_FREE, paper=DEKAN_PAPER)
class MultiDIMatched(DataFree):
    """Control: Multi-DI with as many images as DEKAN has in all its sets, and as many steps.

    It tells whether DEKAN's gain is the fused images or just more images. ``inversion.images`` means what it means for
    DEKAN, so each teacher is inverted into I times as many.
    """

    channels = (3,)

    Hparams = SynthesisHparams

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        teachers = cls.teachers(problem, hparams)
        each = len(teachers) * hparams.inversion.images
        sets = cls.inverted(problem, teachers, hparams.inversion, images=each)
        return Distil(teachers, list(sets.values()), problem, hparams.distillation, images=len(teachers) * each)
