"""Fishr: the source domains' gradients should have equal variances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.algorithms.stepwise import Minibatch, joined
from dfdgbench.engine.stage import Metrics
from dfdgbench.errors import HparamError
from dfdgbench.hparams import hparam, log10_uniform, uniform, uniform_integer
from dfdgbench.losses.risks import gradient_variance, spread
from dfdgbench.settings import DOMAIN_GENERALISATION


@register("Fishr", setting=DOMAIN_GENERALISATION, paper=Paper("Rame et al. 2022", arxiv="2109.02934"))
class Fishr(ERM):
    """Match the variances, over a domain's examples, of the gradients by the classifier; running means over steps.

    The gradients are in closed form, since the classifier is linear; the running means are a part of the model, so that a
    resumed run goes on from them (DomainBed's are not).
    """

    means: Tensor

    class Hparams(ERM.Hparams):
        lambda_: float = hparam(1000.0, search=log10_uniform(1, 4), ge=0, doc="weight of the penalty", name="lambda")
        penalty_anneal_iters: int = hparam(
            1500, search=uniform_integer(0, 5000), ge=0, doc="steps before the penalty enters, with a fresh optimiser"
        )
        ema: float = hparam(0.95, search=uniform(0.90, 0.99), ge=0, lt=1, doc="decay of the variances' running means")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.network.classifier, nn.Linear):
            raise HparamError("Fishr needs a linear classifier: leave nonlinear_classifier out.")
        size = (self.network.n_features + 1) * self.num_classes
        device = next(self.network.parameters()).device
        self.register_buffer("means", torch.zeros(self.num_domains, size, device=device))
        self.count = 0

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        images, labels = joined(minibatches)
        features = self.network.features(images)
        logits = self.network.classifier(features)
        penalty = self._penalty(features, logits, labels, [len(y) for _, y in minibatches])
        nll, anneal = functional.cross_entropy(logits, labels), self.hparams.penalty_anneal_iters
        if self.count == anneal:
            self.optimizer = self.adam()
        loss = nll + (self.hparams.lambda_ if self.count >= anneal else 0.0) * penalty
        self.descend(loss)
        self.count += 1
        return {"loss": loss.detach(), "nll": nll.detach(), "penalty": penalty.detach()}

    def _penalty(self, features: Tensor, logits: Tensor, labels: Tensor, sizes: list[int]) -> Tensor:
        parts = zip(features.split(sizes), logits.split(sizes), labels.split(sizes), strict=True)
        now = torch.stack([gradient_variance(*part) for part in parts])
        decay = self.hparams.ema
        running = decay * self.means + (1 - decay) * now
        self.means.copy_(running.detach())
        return spread((running / (1 - decay)).unbind())
