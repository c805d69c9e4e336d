"""MinEnt: predictions on the target made sure by their entropy."""

from __future__ import annotations

from torch import Tensor

from dfdgbench.algorithms.adaptation import Levelled, WithTargetLoss
from dfdgbench.algorithms.base import Paper, register
from dfdgbench.hparams import hparam
from dfdgbench.losses.confidence import entropy_loss
from dfdgbench.settings import UNSUPERVISED_ADAPTATION


@register(
    "MinEnt",
    setting=UNSUPERVISED_ADAPTATION,
    paper=Paper("Vu et al. 2019, ADVENT (direct entropy)", arxiv="1811.12833"),
)
class MinEnt(WithTargetLoss):
    """Cross-entropy on the source, plus the mean entropy of target pixels divided by log K; ``--preset multi-level`` takes that
    of a second head too."""

    class Hparams(Levelled):
        lambda_: float = hparam(0.001, ge=0, doc="weight of the entropy", name="lambda")

    presets = {"multi-level": {"levels": 2}}

    def target_loss(self, scores: Tensor) -> Tensor:
        return entropy_loss(scores)
