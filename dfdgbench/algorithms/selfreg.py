"""SelfReg: self-supervised contrastive regularisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.algorithms.stepwise import Minibatch, joined
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import hparam
from dfdgbench.seeds import seed_hash
from dfdgbench.settings import DOMAIN_GENERALISATION


@register("SelfReg", setting=DOMAIN_GENERALISATION, paper=Paper("Kim et al. 2021", arxiv="2104.09841"))
class SelfReg(ERM):
    """Pull logits and projected features of images of one class together, whatever their domains.

    Each image meets another of its class, and a mixture of two others; the weight between both terms is drawn from
    Beta(0.5, 0.5). The projection is trained with the rest (in DomainBed it is left out of the optimiser).
    """

    class Hparams(ERM.Hparams):
        feature_weight: float = hparam(0.3, ge=0, doc="weight of the features' terms beside the logits'")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        size = self.network.n_features
        hidden = size if size <= 512 else size // 2
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_hash(self.seed, "projection"))
            self.projection = nn.Sequential(
                nn.Linear(size, hidden),
                nn.BatchNorm1d(hidden),
                nn.ReLU(inplace=True),
                nn.Linear(hidden, hidden),
                nn.BatchNorm1d(hidden),
                nn.ReLU(inplace=True),
                nn.Linear(hidden, size),
                nn.BatchNorm1d(size),
            )
        self.place(self.projection)
        self.optimizer.add_param_group({"params": list(self.projection.parameters())})

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        images, labels = joined(minibatches)
        features = self.network.features(images)
        logits, projected = self.network.classifier(features), self.projection(features)
        share = float(np.random.beta(0.5, 0.5))
        other, first, second = (shuffled_within_classes(labels) for _ in range(3))
        alike = logits.new_zeros(())
        for found, weight in ((logits, 1.0), (projected, self.hparams.feature_weight)):
            mixed = share * found[first] + (1 - share) * found[second]
            alike = alike + weight * share * functional.mse_loss(found, found[other])
            alike = alike + weight * (1 - share) * functional.mse_loss(found, mixed)
        loss = functional.cross_entropy(logits, labels)
        self.descend(loss + loss.detach().clamp(max=1.0) * alike)
        return {"loss": loss.detach()}


def shuffled_within_classes(labels: Tensor) -> Tensor:
    """For every example of labels [B] the position of one of its own class: a random permutation within each class."""
    order = torch.randperm(len(labels)).to(labels.device)
    shuffled = torch.empty_like(labels)
    shuffled[labels.argsort(stable=True)] = order[labels[order].argsort(stable=True)]
    return shuffled
