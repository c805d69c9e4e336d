"""Mixup between domains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.algorithms.stepwise import Minibatch
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import hparam, log10_uniform
from dfdgbench.settings import DOMAIN_GENERALISATION


@register("Mixup", setting=DOMAIN_GENERALISATION, paper=Paper("Yan et al. 2020; Zhang et al. 2018", arxiv="2001.00677"))
class Mixup(ERM):
    """Train on weighted means of images of two source domains, with the labels weighted likewise."""

    class Hparams(ERM.Hparams):
        mixup_alpha: float = hparam(
            0.2, search=log10_uniform(-1, 1), gt=0, doc="both parameters of the Beta distribution of the weight"
        )

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        losses = []
        for (x, y), (other_x, other_y) in paired(minibatches):
            share = float(np.random.beta(self.hparams.mixup_alpha, self.hparams.mixup_alpha))
            logits = self.predict(share * x + (1 - share) * other_x)
            first, second = functional.cross_entropy(logits, y), functional.cross_entropy(logits, other_y)
            losses.append(share * first + (1 - share) * second)
        loss = torch.stack(losses).mean()
        self.descend(loss)
        return {"loss": loss.detach()}


def paired(minibatches: Sequence[Minibatch]) -> Iterator[tuple[Minibatch, Minibatch]]:
    """Each minibatch with the next of a random order, the last with the first, both cut to the shorter one's length."""
    order: list[int] = torch.randperm(len(minibatches)).tolist()
    for first, second in zip(order, [*order[1:], order[0]], strict=True):
        yield same_length(minibatches[first], minibatches[second])


def same_length(first: Minibatch, second: Minibatch) -> tuple[Minibatch, Minibatch]:
    """Both minibatches cut to the shorter one's length."""
    (x, y), (other_x, other_y) = first, second
    length = min(len(x), len(other_x))
    return (x[:length], y[:length]), (other_x[:length], other_y[:length])
