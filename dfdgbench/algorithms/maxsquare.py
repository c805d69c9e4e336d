"""MaxSquare: predictions on the target made sure by their squares, whose gradient spares what is sure already."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from dfdgbench.algorithms.adaptation import Adapting, WithTargetLoss
from dfdgbench.algorithms.base import Paper, register
from dfdgbench.hparams import hparam
from dfdgbench.losses.confidence import max_square_loss, weighted_max_square_loss
from dfdgbench.settings import UNSUPERVISED_ADAPTATION


@register(
    "MaxSquare",
    setting=UNSUPERVISED_ADAPTATION,
    paper=Paper(
        "Chen et al. 2019, Domain adaptation for semantic segmentation with maximum squares loss", "1909.13589"
    ),
)
class MaxSquare(WithTargetLoss):
    """Cross-entropy on the source, minus squared probabilities of target pixels; ``--preset image-wise`` weighs rare classes up.

    One level: the second head of the paper's multi-level variant is left out, as in SFDA's comparison.
    """

    class Hparams(Adapting):
        lambda_: float = hparam(0.1, ge=0, doc="weight of the squares", name="lambda")
        norm: Literal["released", "literal"] = hparam(
            "released",
            doc="released: minus the mean over pixels and classes, halved; literal: SFDA's Eq. 2, 2 K times as much",
        )
        image_wise: bool = hparam(False, doc="weigh every pixel by how seldom its predicted class is in its image")
        q: float = hparam(0.2, ge=0, le=1, doc="power of that weight; 0: all alike")

    presets = {"image-wise": {"image_wise": True}}

    def target_loss(self, scores: Tensor) -> Tensor:
        h = self.hparams
        loss = weighted_max_square_loss(scores, h.q) if h.image_wise else max_square_loss(scores, h.norm)
        weighted: Tensor = h.lambda_ * loss
        return weighted
