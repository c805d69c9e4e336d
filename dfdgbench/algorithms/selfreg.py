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
    """Pull logits and features of images of one class together, whatever their domains.

    Each image meets another of its class, and a mixture of this one and a third; the weight between both terms, and in the
    mixture, is drawn from Beta(0.5, 0.5). Logits meet logits, features what a projection makes of the other's features. The
    projection is trained with the rest (in DomainBed it is left out of the optimiser).
    """

    class Hparams(ERM.Hparams):
        feature_weight: float = hparam(0.3, ge=0, doc="weight of the features' terms beside the logits'")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        size = self.network.n_features
        hidden = size if size == 2048 else 2 * size
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
        second, third = shuffled_within_classes(labels)
        apart = logits.new_zeros(())
        for own, others, weight in ((logits, logits, 1.0), (features, projected, self.hparams.feature_weight)):
            mixed = share * others[second] + (1 - share) * others[third]
            met = share * functional.mse_loss(own, others[second]) + (1 - share) * functional.mse_loss(own, mixed)
            apart = apart + weight * met
        nll = functional.cross_entropy(logits, labels)
        loss = nll + nll.detach().clamp(max=1.0) * apart
        self.descend(loss)
        return {"loss": loss.detach(), "nll": nll.detach()}


def shuffled_within_classes(labels: Tensor) -> tuple[Tensor, Tensor]:
    """For every example of labels [B] the positions of two of its own class: random permutations within each class."""
    known = labels.cpu()
    second, third = torch.empty_like(known), torch.empty_like(known)
    for members in known.argsort().split(known.bincount().tolist()):
        for found in (second, third):
            found[members] = members[torch.randperm(len(members))]
    return second.to(labels.device), third.to(labels.device)
