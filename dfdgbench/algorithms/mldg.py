"""MLDG: meta-learning for domain generalisation, first-order."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import cycle

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.algorithms.mixup import same_length
from dfdgbench.algorithms.stepwise import Minibatch
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import choice, hparam, log10_uniform
from dfdgbench.settings import DOMAIN_GENERALISATION


@register("MLDG", setting=DOMAIN_GENERALISATION, paper=Paper("Li et al. 2018", arxiv="1710.03463"))
class MLDG(ERM):
    """A step on some source domains should also help the others: both gradients are followed (first order).

    At most all but one domain are meta-test domains: with as many of them as there are domains, DomainBed's never trains.
    """

    class Hparams(ERM.Hparams):
        mldg_beta: float = hparam(1.0, search=log10_uniform(-1, 1), ge=0, doc="weight of the meta-test gradient")
        n_meta_test: int = hparam(2, search=choice(1, 2), ge=1, doc="domains that are meta-test domains in a step")

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        parameters = list(self.network.parameters())
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        objective = torch.zeros((), device=parameters[0].device)
        for (x, y), (other_x, other_y) in self._episodes(minibatches):
            inner = copy.deepcopy(self.network)
            weights = list(inner.parameters())
            optimizer = torch.optim.Adam(weights, lr=self.hparams.lr, weight_decay=self.hparams.weight_decay)
            trained = functional.cross_entropy(inner(x), y)
            first = torch.autograd.grad(trained, weights)
            for weight, gradient in zip(weights, first, strict=True):
                weight.grad = gradient.clone()
            optimizer.step()
            tested = functional.cross_entropy(inner(other_x), other_y)
            second = torch.autograd.grad(tested, weights)
            for total, one, two in zip(gradients, first, second, strict=True):
                total += (one + self.hparams.mldg_beta * two) / len(minibatches)
            objective += (trained + self.hparams.mldg_beta * tested).detach() / len(minibatches)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        return {"loss": objective}

    def _episodes(self, minibatches: Sequence[Minibatch]) -> Iterator[tuple[Minibatch, Minibatch]]:
        """Every meta-train domain of a random order with a meta-test domain; one domain is both."""
        order: list[int] = torch.randperm(len(minibatches)).tolist()
        held_out = min(self.hparams.n_meta_test, max(1, len(order) - 1))
        kept = order[: len(order) - held_out] or order
        for trained, tested in zip(kept, cycle(order[-held_out:]), strict=False):
            yield same_length(minibatches[trained], minibatches[tested])
