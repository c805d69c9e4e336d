"""SagNet: style-agnostic networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.algorithms.stepwise import Minibatch, joined
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import hparam, log10_uniform
from dfdgbench.networks.heads import classifier
from dfdgbench.seeds import seed_hash
from dfdgbench.settings import DOMAIN_GENERALISATION


@register("SagNet", setting=DOMAIN_GENERALISATION, paper=Paper("Nam et al. 2021", arxiv="1910.11645"))
class SagNet(ERM):
    """A classifier on features of random style, a second on features of random content, and features that deceive it."""

    class Hparams(ERM.Hparams):
        sag_w_adv: float = hparam(0.1, search=log10_uniform(-2, 1), ge=0, doc="weight of the adversarial step")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_hash(self.seed, "style"))
            self.style = classifier(self.network.n_features, self.num_classes, self.spec.nonlinear)
        self.place(self.style)
        self.featurizer_optimizer = self._adam(self.network.featurizer)
        self.classifier_optimizer = self._adam(self.network.classifier)
        self.style_optimizer = self._adam(self.style)
        del self.optimizer

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        images, labels = joined(minibatches)
        content = functional.cross_entropy(self._scores(self.network.classifier, images, "style"), labels)
        self._step(content, self.featurizer_optimizer, self.classifier_optimizer)
        style = functional.cross_entropy(self._scores(self.style, images, "content"), labels)
        self._step(style, self.style_optimizer)
        deceived = -self._scores(self.style, images, "content").log_softmax(1).mean()
        adversarial = self.hparams.sag_w_adv * deceived
        self._step(adversarial, self.featurizer_optimizer)
        return {"loss_c": content.detach(), "loss_s": style.detach(), "loss_adv": adversarial.detach()}

    def _scores(self, head: Any, images: Tensor, what: Literal["style", "content"]) -> Tensor:
        scores: Tensor = head(randomised(self.network.features(images), what))
        return scores

    def _adam(self, module: torch.nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(module.parameters(), lr=self.hparams.lr, weight_decay=self.hparams.weight_decay)

    def _step(self, loss: Tensor, *optimizers: torch.optim.Adam) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()


def randomised(features: Tensor, what: Literal["style", "content"], eps: float = 1e-5) -> Tensor:
    """Features [B, F] with the style (mean and variance of an example's features) mixed with another's, or with
    another's content in their own style. The other examples are a random order of the batch; content passes no gradient."""
    mean, var = features.mean(1, keepdim=True), features.var(1, keepdim=True)
    share = torch.rand(len(features), 1).to(features)
    normalised, order = (features - mean) / (var + eps).sqrt(), torch.randperm(len(features))
    if what == "style":
        mean, var = share * mean + (1 - share) * mean[order], share * var + (1 - share) * var[order]
    else:
        normalised = normalised[order].detach()
    return normalised * (var + eps).sqrt() + mean
