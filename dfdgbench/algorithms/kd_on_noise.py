"""KD on noise: the control of every data-free distillation."""

from __future__ import annotations

from typing import Any

from dfdgbench.algorithms.base import register
from dfdgbench.algorithms.data_free import DEKAN_PAPER, DataFree, TeacherHparams
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import PredictorStage
from dfdgbench.hparams import group
from dfdgbench.settings import DATA_FREE
from dfdgbench.stages.distil import Distil, Distillation
from dfdgbench.stages.noise import Noise, NoiseImages
from dfdgbench.stages.pool import PoolSet


@register("KD-on-noise", setting=DATA_FREE, paper=DEKAN_PAPER)
class KDOnNoise(DataFree):
    """Control: distil the teachers' average on noise, with as many images as DEKAN has.

    What a student learns from images that carry nothing of any domain is what inversion has to beat.
    """

    channels = (3,)

    class Hparams(TeacherHparams):
        noise: NoiseImages = group(NoiseImages, doc="the images")
        distillation: Distillation = group(Distillation, doc="the student")

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        teachers = cls.teachers(problem, hparams)
        shards = problem.once(
            ("noise",),
            lambda: tuple(Noise(problem, hparams.noise, index) for index in range(len(teachers) ** 2)),
            hparams.noise,
        )
        everyone = {domain: 1.0 / len(teachers) for domain in teachers}
        images = len(shards) * hparams.noise.images
        return Distil(teachers, [PoolSet(shards, everyone)], problem, hparams.distillation, images=images)
