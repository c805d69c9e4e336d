"""MaxSquare: predictions on the target made sure by their squares, whose gradient spares what is sure already."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from dfdgbench.algorithms.adaptation import Auxiliary, Levelled, WithTargetLoss
from dfdgbench.algorithms.base import Paper, register
from dfdgbench.hparams import group, hparam
from dfdgbench.losses.confidence import max_square_loss, weighted_max_square_loss
from dfdgbench.losses.pseudo_labels import labels_of_two
from dfdgbench.settings import UNSUPERVISED_ADAPTATION
from dfdgbench.tasks.segmentation import IGNORED


class Agreement(Auxiliary):
    """The second head, which learns what both heads say of pixels that one is sure of."""

    target: float = hparam(0.1, ge=0, doc="weight of its cross-entropy on the target, as a part of lambda")
    threshold: float = hparam(
        0.95,
        ge=0,
        lt=1,
        doc="probability that one head must give a pixel's class; the release's cross-city script: 0.98",
    )


@register(
    "MaxSquare",
    setting=UNSUPERVISED_ADAPTATION,
    paper=Paper(
        "Chen et al. 2019, Domain adaptation for semantic segmentation with maximum squares loss", "1909.13589"
    ),
)
class MaxSquare(WithTargetLoss):
    """Cross-entropy on the source, minus squared probabilities of target pixels; ``--preset image-wise`` weighs rare classes up.

    ``--preset multi-level`` adds the paper's second head: on the target it learns the class that both heads together give
    the most probability, at pixels that one of them is sure of. SFDA's comparison has one level.
    """

    class Hparams(Levelled):
        lambda_: float = hparam(0.1, ge=0, doc="weight of the squares", name="lambda")
        norm: Literal["released", "literal"] = hparam(
            "released",
            doc="released: minus the mean over pixels and classes, halved; literal: SFDA's Eq. 2, 2 K times as much",
        )
        image_wise: bool = hparam(False, doc="weigh every pixel by how seldom its predicted class is in its image")
        q: float = hparam(0.2, ge=0, le=1, doc="power of that weight; 0: all alike")

        aux: Agreement = group(Agreement, doc="the second head, where levels is 2")

    presets = {
        "image-wise": {"image_wise": True},
        "multi-level": {"image_wise": True, "levels": 2, "lambda": 0.09},
    }

    def target_loss(self, scores: Tensor) -> Tensor:
        h = self.hparams
        return weighted_max_square_loss(scores, h.q) if h.image_wise else max_square_loss(scores, h.norm)

    def auxiliary_loss(self, scores: Tensor, auxiliary: Tensor) -> Tensor:
        labels = labels_of_two(scores, auxiliary, self.hparams.aux.threshold, IGNORED)
        return self.given.task.loss(auxiliary, labels)
