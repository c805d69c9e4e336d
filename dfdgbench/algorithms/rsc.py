"""RSC: representation self-challenging."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.algorithms.stepwise import Minibatch, joined
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import hparam, uniform
from dfdgbench.settings import DOMAIN_GENERALISATION


@register("RSC", setting=DOMAIN_GENERALISATION, paper=Paper("Huang et al. 2020", arxiv="2007.02454"))
class RSC(ERM):
    """Mute the features that the correct score depends on most, for the images that lose most confidence by it."""

    class Hparams(ERM.Hparams):
        rsc_f_drop_factor: float = hparam(
            1 / 3, search=uniform(0, 0.5), ge=0, le=1, doc="share of the features that are muted"
        )
        rsc_b_drop_factor: float = hparam(
            1 / 3, search=uniform(0, 0.5), ge=0, le=1, doc="share of the images whose features are muted"
        )

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        images, labels = joined(minibatches)
        features = self.network.features(images)
        logits = self.network.classifier(features)
        kept = self._kept(features, logits, labels)
        loss = functional.cross_entropy(self.network.classifier(features * kept), labels)
        self.descend(loss)
        return {"loss": loss.detach()}

    def _kept(self, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """1 for a feature that stays, 0 for one that is muted, [B, F]."""
        correct = functional.one_hot(labels, logits.shape[1])
        (gradient,) = torch.autograd.grad((logits * correct).sum(), features, retain_graph=True)
        most = gradient.quantile(1 - self.hparams.rsc_f_drop_factor, dim=1, keepdim=True)
        quiet = gradient < most
        with torch.no_grad():
            muted = self.network.classifier(features * quiet)
            lost = ((logits.softmax(1) - muted.softmax(1)) * correct).sum(1)
            spared = lost < lost.quantile(1 - self.hparams.rsc_b_drop_factor)
        kept: Tensor = quiet | spared[:, None]
        return kept.to(features.dtype)
