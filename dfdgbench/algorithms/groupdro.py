"""GroupDRO: weight the source domains by how badly they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.algorithms.stepwise import Minibatch
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import hparam, log10_uniform
from dfdgbench.settings import DOMAIN_GENERALISATION


@register("GroupDRO", setting=DOMAIN_GENERALISATION, paper=Paper("Sagawa et al. 2020", arxiv="1911.08731"))
class GroupDRO(ERM):
    """Minimise the domains' risks under weights q that grow with them: q_e <- q_e exp(eta risk_e), normalised.

    The weights have their size from the start, so that a model can be loaded again (DomainBed's cannot).
    """

    q: Tensor

    class Hparams(ERM.Hparams):
        groupdro_eta: float = hparam(1e-2, search=log10_uniform(-3, -1), ge=0, doc="step of the domains' weights")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        device = next(self.network.parameters()).device
        self.register_buffer("q", torch.full((self.num_domains,), 1 / self.num_domains, device=device))

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        risks = torch.stack([functional.cross_entropy(self.predict(x), y) for x, y in minibatches])
        grown = self.q * torch.exp(self.hparams.groupdro_eta * risks.detach())
        self.q.copy_(grown / grown.sum())
        loss = (risks * self.q).sum()
        self.descend(loss)
        return {"loss": loss.detach()}
