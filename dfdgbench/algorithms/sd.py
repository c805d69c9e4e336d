"""SD: spectral decoupling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.algorithms.stepwise import Minibatch, joined
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import hparam, log10_uniform
from dfdgbench.settings import DOMAIN_GENERALISATION


@register("SD", setting=DOMAIN_GENERALISATION, paper=Paper("Pezeshki et al. 2021", arxiv="2011.09468"))
class SD(ERM):
    """Penalise the squared logits, so that no feature that is learnt early starves the others."""

    class Hparams(ERM.Hparams):
        sd_reg: float = hparam(0.1, search=log10_uniform(-5, -1), ge=0, doc="weight of the mean squared logit")

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        images, labels = joined(minibatches)
        logits = self.predict(images)
        loss, penalty = functional.cross_entropy(logits, labels), logits.square().mean()
        self.descend(loss + self.hparams.sd_reg * penalty)
        return {"loss": loss.detach(), "penalty": penalty.detach()}
