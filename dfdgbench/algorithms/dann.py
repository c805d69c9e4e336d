"""DANN and CDANN: features from which a discriminator cannot tell the source domains apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM, Common
from dfdgbench.algorithms.stepwise import Minibatch, joined
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import case, choice, hparam, log2_integer, log10_uniform
from dfdgbench.networks.heads import MLP
from dfdgbench.seeds import seed_hash
from dfdgbench.settings import DOMAIN_GENERALISATION


def _rate(of: str) -> float:
    rate: float = hparam(
        5e-5,
        search=log10_uniform(-5, -3.5),
        small=case(1e-3, log10_uniform(-4.5, -2.5)),
        gt=0,
        doc=f"learning rate of {of}",
    )
    return rate


@register("DANN", setting=DOMAIN_GENERALISATION, paper=Paper("Ganin et al. 2016", arxiv="1505.07818"))
class DANN(ERM):
    """A discriminator learns to tell the domains of features apart, and the featurizer to deceive it, in turns.

    A step logs the loss of its own side alone: ``disc_loss`` or ``gen_loss``.
    """

    conditional = False

    class Hparams(Common):
        lambda_: float = hparam(1.0, search=log10_uniform(-2, 2), ge=0, doc="weight of the deception", name="lambda")
        lr_g: float = _rate("featurizer and classifier")
        lr_d: float = _rate("the discriminator")
        weight_decay_g: float = hparam(
            0.0, search=log10_uniform(-6, -2), small=case(0.0), ge=0, doc="weight decay of featurizer and classifier"
        )
        weight_decay_d: float = hparam(0.0, search=log10_uniform(-6, -2), ge=0, doc="weight decay of the discriminator")
        d_steps_per_g_step: int = hparam(
            1, search=log2_integer(0, 3), ge=0, doc="discriminator's steps for each of the other side"
        )
        grad_penalty: float = hparam(
            0.0, search=log10_uniform(-2, 1), ge=0, doc="weight of the discriminator's squared input gradient"
        )
        beta1: float = hparam(0.5, search=choice(0.0, 0.5), ge=0, lt=1, doc="Adam's first decay")
        mlp_width: int = hparam(256, search=log2_integer(6, 10), gt=0, doc="width of the discriminator")
        mlp_depth: int = hparam(3, search=choice(3, 4, 5), ge=2, doc="layers of the discriminator")
        mlp_dropout: float = hparam(0.0, search=choice(0.0, 0.1, 0.5), ge=0, lt=1, doc="its dropout")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        h, features = self.hparams, self.network.n_features
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_hash(self.seed, "discriminator"))
            self.discriminator = MLP(features, self.num_domains, h.mlp_width, h.mlp_depth, h.mlp_dropout)
            self.embeddings = nn.Embedding(self.num_classes, features)
        self.place(self.discriminator), self.place(self.embeddings)
        self.disc_optimizer = torch.optim.Adam(
            chain(self.discriminator.parameters(), self.embeddings.parameters()),
            lr=h.lr_d,
            weight_decay=h.weight_decay_d,
            betas=(h.beta1, 0.9),
        )
        self.count = 0

    def adam(self) -> torch.optim.Adam:
        h = self.hparams
        return torch.optim.Adam(
            self.network.parameters(), lr=h.lr_g, weight_decay=h.weight_decay_g, betas=(h.beta1, 0.9)
        )

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        self.count += 1
        images, labels = joined(minibatches)
        domains = torch.cat([torch.full_like(y, i) for i, (_, y) in enumerate(minibatches)])
        features = self.network.features(images)
        told_apart = self._disc_loss(features, labels, domains)
        turns = self.hparams.d_steps_per_g_step
        if self.count % (1 + turns) < turns:
            self.disc_optimizer.zero_grad(set_to_none=True)
            told_apart.backward()
            self.disc_optimizer.step()
            return {"disc_loss": told_apart.detach()}
        loss = functional.cross_entropy(self.network.classifier(features), labels) - self.hparams.lambda_ * told_apart
        self.descend(loss)
        return {"gen_loss": loss.detach()}

    def _disc_loss(self, features: Tensor, labels: Tensor, domains: Tensor) -> Tensor:
        shown = features + self.embeddings(labels) if self.conditional else features
        scores = self.discriminator(shown)
        each = functional.cross_entropy(scores, domains, reduction="none")
        if self.conditional:
            counts = torch.bincount(labels, minlength=self.num_classes)
            loss = (each / (counts[labels] * self.num_classes)).sum()
        else:
            loss = each.mean()
        if self.hparams.grad_penalty:
            (gradient,) = torch.autograd.grad(each.sum(), shown, create_graph=True)
            loss = loss + self.hparams.grad_penalty * gradient.square().sum(1).mean()
        return loss


@register("CDANN", setting=DOMAIN_GENERALISATION, paper=Paper("Li et al. 2018, ECCV: Deep DG via CIANs"))
class CDANN(DANN):
    """DANN whose discriminator also sees the class, every class weighing the same."""

    conditional = True
