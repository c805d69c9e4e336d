"""ERM: empirical risk minimisation on all source domains together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdgbench import hparams
from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.stepwise import Minibatch, Stepwise, joined
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import case, choice, hparam, log2_integer, log10_uniform
from dfdgbench.networks.base import NetworkSpec, build
from dfdgbench.networks.needs import dropout_hparam
from dfdgbench.networks.norm import apply_bn_policy
from dfdgbench.settings import DOMAIN_GENERALISATION


class Common(hparams.Hparams):
    """Hyper-parameters of every method of DomainBed's that trains one network on labelled source images."""

    batch_size: int = hparam(
        32,
        search=log2_integer(3, 5.5),
        small=case(64, log2_integer(3, 9)),
        by_dataset={"DomainNet": case(32, log2_integer(3, 5))},
        gt=0,
        doc="images a step of each source domain",
    )
    resnet_dropout: float = hparam(
        0.0, search=choice(0.0, 0.1, 0.5), ge=0, lt=1, doc="dropout of a convolutional network's features"
    )
    vit_dropout: float = hparam(
        0.0, search=choice(0.0, 0.1, 0.5), ge=0, lt=1, doc="dropout of a transformer's features"
    )
    data_augmentation: bool = hparam(True, doc="DomainBed's augmentation, where the dataset has one")
    class_balanced: bool = hparam(False, doc="draw every class equally often")
    freeze_bn: bool = hparam(False, doc="keep batch normalisation at its initial statistics")
    nonlinear_classifier: bool = hparam(False, doc="a classifier of three layers")


@register(
    "ERM", setting=DOMAIN_GENERALISATION, paper=Paper("Vapnik 1998; Gulrajani and Lopez-Paz 2021", arxiv="2007.01434")
)
class ERM(Stepwise):
    """Minimise the mean cross-entropy over all source domains (DomainBed's settings).

    Adam; every step sees one minibatch of each domain. Not data-free: in DEKAN's table it is the upper bound.
    Batch normalisation is live unless ``freeze_bn``, as in DomainBed since July 2024.
    """

    class Hparams(Common):
        lr: float = hparam(
            5e-5, search=log10_uniform(-5, -3.5), small=case(1e-3, log10_uniform(-4.5, -2.5)), gt=0, doc="learning rate"
        )
        weight_decay: float = hparam(0.0, search=log10_uniform(-6, -2), small=case(0.0), ge=0, doc="weight decay")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        network = build(self.spec, self.seed)
        apply_bn_policy(network, "frozen" if self.hparams.freeze_bn else "live")
        self.network = self.place(network)
        self.optimizer = self.adam()

    def adam(self) -> torch.optim.Adam:
        """A fresh optimiser of the whole network; some methods take one in the middle of training."""
        return torch.optim.Adam(self.network.parameters(), lr=self.hparams.lr, weight_decay=self.hparams.weight_decay)

    @classmethod
    def network_spec(cls, network: NetworkSpec, hparams: Any) -> NetworkSpec:
        name = dropout_hparam(network)
        dropout = getattr(hparams, name, 0.0) if name else 0.0
        return replace(network, dropout=dropout, nonlinear=hparams.nonlinear_classifier)

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        images, labels = joined(minibatches)
        loss = functional.cross_entropy(self.predict(images), labels)
        self.descend(loss)
        return {"loss": loss.detach()}

    def descend(self, objective: Tensor) -> None:
        """One step of the optimiser."""
        self.optimizer.zero_grad(set_to_none=True)
        objective.backward()
        self.optimizer.step()

    def predict(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network(x)
        return scores

    def predictors(self) -> dict[str, nn.Module]:
        return {"default": self.network}
