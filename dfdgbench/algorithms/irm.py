"""IRM and VREx: penalise what makes the source domains' risks differ, after a warm-up."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.algorithms.stepwise import Minibatch, joined
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import hparam, log10_integer, log10_uniform
from dfdgbench.losses.risks import irm_penalty, risk_variance
from dfdgbench.settings import DOMAIN_GENERALISATION


class Penalised(ERM):
    """Mean risk plus a penalty: of weight 1 in the first steps, then of its own weight, with a fresh optimiser.

    The sudden change of the objective's scale would else meet Adam's old moments (DomainBed).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.count = 0

    @abstractmethod
    def weight(self) -> tuple[float, int]:
        """The penalty's weight, and how many steps it is 1 before."""

    @abstractmethod
    def penalty(self, logits: Sequence[Tensor], labels: Sequence[Tensor], risks: Tensor) -> Tensor:
        """Of the domains' logits [B, K], labels [B] and risks [n]."""

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        images, _ = joined(minibatches)
        labels = [y for _, y in minibatches]
        logits = self.predict(images).split([len(y) for y in labels])
        risks = torch.stack([functional.cross_entropy(z, y) for z, y in zip(logits, labels, strict=True)])
        nll, penalty = risks.mean(), self.penalty(logits, labels, risks)
        weight, after = self.weight()
        if self.count == after:
            self.optimizer = self.adam()
        loss = nll + (weight if self.count >= after else 1.0) * penalty
        self.descend(loss)
        self.count += 1
        return {"loss": loss.detach(), "nll": nll.detach(), "penalty": penalty.detach()}


@register("IRM", setting=DOMAIN_GENERALISATION, paper=Paper("Arjovsky et al. 2019", arxiv="1907.02893"))
class IRM(Penalised):
    """Features on which one classifier is optimal for every source domain at once (IRMv1).

    The penalty is estimated without bias from even and odd examples, so that it can be negative.
    """

    class Hparams(ERM.Hparams):
        irm_lambda: float = hparam(100.0, search=log10_uniform(-1, 5), ge=0, doc="weight of the penalty")
        irm_penalty_anneal_iters: int = hparam(
            500, search=log10_integer(0, 4), ge=0, doc="steps in which the penalty's weight is 1"
        )

    def weight(self) -> tuple[float, int]:
        return self.hparams.irm_lambda, self.hparams.irm_penalty_anneal_iters

    def penalty(self, logits: Sequence[Tensor], labels: Sequence[Tensor], risks: Tensor) -> Tensor:
        return torch.stack([irm_penalty(z, y) for z, y in zip(logits, labels, strict=True)]).mean()


@register("VREx", setting=DOMAIN_GENERALISATION, paper=Paper("Krueger et al. 2021", arxiv="2003.00688"))
class VREx(Penalised):
    """Equal risks: penalise the variance of the source domains' risks.

    ``nll`` is the mean over the domains; DomainBed logs the last one's.
    """

    class Hparams(ERM.Hparams):
        vrex_lambda: float = hparam(10.0, search=log10_uniform(-1, 5), ge=0, doc="weight of the penalty")
        vrex_penalty_anneal_iters: int = hparam(
            500, search=log10_integer(0, 4), ge=0, doc="steps in which the penalty's weight is 1"
        )

    def weight(self) -> tuple[float, int]:
        return self.hparams.vrex_lambda, self.hparams.vrex_penalty_anneal_iters

    def penalty(self, logits: Sequence[Tensor], labels: Sequence[Tensor], risks: Tensor) -> Tensor:
        return risk_variance(risks)
