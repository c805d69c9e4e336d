"""MetaReg: learn the classifier's regulariser so that what it regularises transfers between source domains."""

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
from dfdgbench.errors import ConfigError, HparamError
from dfdgbench.hparams import hparam, log10_uniform
from dfdgbench.networks.base import build
from dfdgbench.settings import DOMAIN_GENERALISATION


@register(
    "MetaReg",
    setting=DOMAIN_GENERALISATION,
    paper=Paper("Balaji, Sankaranarayanan and Chellappa 2018, NeurIPS: MetaReg"),
)
class MetaReg(ERM):
    """A weighted L1 norm of the classifier, learnt episodically, then used in training anew on all sources.

    In the first ``meta_steps`` every source domain has a classifier of its own on shared features. Each step also takes two
    domains a and b: a copy of a's classifier makes ``inner_steps`` steps of gradient descent on a's loss plus the regulariser,
    and the regulariser's weights follow the gradient of b's loss through these (second order). Then the network starts again
    from its first weights, with the regulariser fixed.

    The paper gives no code and not all its settings; those of DMG's re-implementation were not published either. Chosen here:
    all defaults below, Adam for the network, and a weight of 0 to begin with.
    """

    weights: Tensor

    class Hparams(ERM.Hparams):
        meta_steps: int = hparam(1000, ge=0, doc="steps in which the regulariser is learnt")
        inner_steps: int = hparam(5, ge=1, doc="steps of a classifier in an episode")
        inner_lr: float = hparam(0.1, search=log10_uniform(-2, 0), gt=0, doc="their learning rate")
        meta_lr: float = hparam(
            1e-3, search=log10_uniform(-4, -2), gt=0, doc="learning rate of the regulariser's weights"
        )
        reg_weight: float = hparam(1.0, ge=0, doc="factor of the regulariser in the final training")

    tiny = {"meta_steps": 2, "inner_steps": 2}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.num_domains < 2:
            raise ConfigError(
                "MetaReg needs two source domains or more and has one. Leave fewer domains out by --test-envs, or take "
                "--algorithm ERM."
            )
        head = self.network.classifier
        if not isinstance(head, nn.Linear):
            raise HparamError("MetaReg needs a linear classifier: leave nonlinear_classifier out.")
        self.register_buffer("weights", torch.zeros_like(head.weight))
        shape = (self.num_domains, self.num_classes, self.network.n_features)
        self.head_weights = nn.Parameter(head.weight.detach().expand(shape).clone())
        self.head_biases = nn.Parameter(head.bias.detach().expand(shape[:2]).clone())
        self.head_optimizer = torch.optim.Adam(
            [self.head_weights, self.head_biases], lr=self.hparams.lr, weight_decay=self.hparams.weight_decay
        )
        self.count = 0

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        if self.count == self.hparams.meta_steps:
            self._start_again()
        self.count += 1
        return self._learn(minibatches) if self.count <= self.hparams.meta_steps else self._train(minibatches)

    def _start_again(self) -> None:
        self.network.load_state_dict(build(self.spec, self.seed).state_dict())
        self.optimizer = self.adam()

    def _train(self, minibatches: Sequence[Minibatch]) -> Metrics:
        images, labels = joined(minibatches)
        loss = functional.cross_entropy(self.predict(images), labels)
        penalty = regulariser(self.weights, self.network.classifier.weight)
        self.descend(loss + self.hparams.reg_weight * penalty)
        return {"loss": loss.detach(), "penalty": penalty.detach()}

    def _learn(self, minibatches: Sequence[Minibatch]) -> Metrics:
        images, _ = joined(minibatches)
        labels = [y for _, y in minibatches]
        features = self.network.features(images).split([len(y) for y in labels])
        heads = list(zip(self.head_weights, self.head_biases, strict=True))
        risks = [risk(*part) for part in zip(features, labels, heads, strict=True)]
        loss = torch.stack(risks).mean()
        self.head_optimizer.zero_grad(set_to_none=True)
        self.descend(loss)
        self.head_optimizer.step()
        first, second = torch.randperm(self.num_domains)[:2].tolist()
        tested = self._episode([found.detach() for found in features], labels, first, second)
        return {"loss": loss.detach(), "meta_loss": tested}

    def _episode(self, features: Sequence[Tensor], labels: Sequence[Tensor], trained: int, tested: int) -> Tensor:
        """Move the regulariser's weights by an episode; returns the loss on the domain ``tested``."""
        weights = self.weights.detach().clone().requires_grad_()
        head = (self.head_weights[trained].detach().clone(), self.head_biases[trained].detach().clone())
        head = (head[0].requires_grad_(), head[1].requires_grad_())
        for _ in range(self.hparams.inner_steps):
            loss = risk(features[trained], labels[trained], head) + regulariser(weights, head[0])
            slopes = torch.autograd.grad(loss, head, create_graph=True)
            head = (head[0] - self.hparams.inner_lr * slopes[0], head[1] - self.hparams.inner_lr * slopes[1])
        loss = risk(features[tested], labels[tested], head)
        (slope,) = torch.autograd.grad(loss, weights)
        self.weights.sub_(self.hparams.meta_lr * slope)
        return loss.detach()


def regulariser(weights: Tensor, classifier: Tensor) -> Tensor:
    """The weighted L1 norm of a classifier [K, F] (MetaReg, section 3.3)."""
    return (weights * classifier.abs()).sum()


def risk(features: Tensor, labels: Tensor, head: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of features [B, F] under a linear classifier's weight [K, F] and bias [K]."""
    return functional.cross_entropy(functional.linear(features, *head), labels)
