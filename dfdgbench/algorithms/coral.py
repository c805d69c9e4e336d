"""CORAL and MMD: align the distributions of the source domains' features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.algorithms.stepwise import Minibatch
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import hparam, log10_uniform
from dfdgbench.losses.alignment import coral, mean_over_pairs, mmd
from dfdgbench.settings import DOMAIN_GENERALISATION


class Aligned(ERM):
    """Mean risk of the domains plus ``mmd_gamma`` times the mean distance between their features, over all pairs.

    Every domain is passed through the network by itself, so that batch normalisation sees one domain at a time.
    """

    distance: Callable[[Tensor, Tensor], Tensor]

    class Hparams(ERM.Hparams):
        mmd_gamma: float = hparam(1.0, search=log10_uniform(-1, 1), ge=0, doc="weight of the alignment term")

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        features = [self.network.features(x) for x, _ in minibatches]
        risks = [
            functional.cross_entropy(self.network.classifier(found), y)
            for found, (_, y) in zip(features, minibatches, strict=True)
        ]
        loss, penalty = torch.stack(risks).mean(), mean_over_pairs(type(self).distance, features)
        self.descend(loss + self.hparams.mmd_gamma * penalty)
        return {"loss": loss.detach(), "penalty": penalty.detach()}


@register("CORAL", setting=DOMAIN_GENERALISATION, paper=Paper("Sun and Saenko 2016", arxiv="1607.01719"))
class CORAL(Aligned):
    """Align the means and covariances of the source domains' features (DomainBed's form: means over entries)."""

    distance = staticmethod(coral)


@register("MMD", setting=DOMAIN_GENERALISATION, paper=Paper("Li et al. 2018, CVPR: MMD-AAE"))
class MMD(Aligned):
    """Align the source domains' features in a kernel's mean embedding: the sum of seven Gaussians, biased estimate."""

    distance = staticmethod(mmd)
