"""DEKAN: data-free domain generalisation by cross-domain fusion of teachers, and its controls."""

from __future__ import annotations

import logging
from typing import Any, Literal

from dfdgbench.algorithms.base import register
from dfdgbench.algorithms.data_free import DEKAN_PAPER, DataFree, FusionHparams
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import PredictorStage
from dfdgbench.hparams import group, hparam
from dfdgbench.settings import DATA_FREE
from dfdgbench.stages.distil import Distil
from dfdgbench.stages.fuse import Fusion

log = logging.getLogger("dfdgbench")


@register("DEKAN", setting=DATA_FREE, paper=DEKAN_PAPER)
class DEKAN(DataFree):
    """Invert each teacher, fuse each ordered pair of them, distil from both kinds of images.

    The user sees released teachers only. Presets: ``paper``; ``paper-literal`` (hinge and divergence as printed);
    ``authors`` (the released code, mended); ``authors-released`` (as released, where the second teacher's cross-entropy
    is computed and never used); ``image-prior`` (not the paper's). Published with a ResNet-50 (PACS) and a ResNet-18
    (Digits) which the paper does not state; epsilon, steps and image counts are not in the paper either.
    """

    channels = (3,)

    Hparams = FusionHparams

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        teachers = cls.teachers(problem, hparams)
        if len(teachers) == 1:
            log.warning("%s with one source domain has no pairs to fuse: it is Multi-DI.", cls.name)
        inverted = cls.inverted(problem, teachers, hparams.inversion)
        fused = cls.fused(problem, teachers, inverted, hparams.fusion)
        pairs = len(fused) * hparams.fusion.images
        images = len(inverted) * hparams.inversion.images + pairs
        return Distil(teachers, [*inverted.values(), *fused], problem, hparams.distillation, images=images)


class UnmatchedFusion(Fusion):
    """Fusion without the moment term."""

    target: Literal["cross", "stored", "none"] = hparam("none", doc="fixed: no moments are matched")


class StoredFusion(Fusion):
    """Fusion towards the teacher's own statistics."""

    target: Literal["cross", "stored", "none"] = hparam("stored", doc="fixed: a's own running statistics")


@register("CE-only-cross", setting=DATA_FREE, paper=DEKAN_PAPER)
class CEOnlyCross(DEKAN):
    """Control: DEKAN whose fused images follow both teachers' labels and no moments."""

    class Hparams(FusionHparams):
        fusion: UnmatchedFusion = group(UnmatchedFusion, doc="stage 2 without its moment term")


@register("Stored-target-cross", setting=DATA_FREE, paper=DEKAN_PAPER)
class StoredTargetCross(DEKAN):
    """Control: DEKAN whose fused images are pulled to the first teacher's own stored statistics."""

    class Hparams(FusionHparams):
        fusion: StoredFusion = group(StoredFusion, doc="stage 2 towards stored statistics")
