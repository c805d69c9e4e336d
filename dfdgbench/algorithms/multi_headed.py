"""Multi-Headed: a baseline of DMG's tables, one classification layer a source domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dfdgbench.algorithms.aggregate import (
    CODE,
    DMG_PAPER,
    PAPER,
    Aggregate,
    initialise_normal,
    require_domains,
)
from dfdgbench.algorithms.base import register
from dfdgbench.algorithms.views import Family, View
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import Metrics, PredictorStage
from dfdgbench.errors import ConfigError
from dfdgbench.hparams import PerDataset, hparam
from dfdgbench.networks.base import Network
from dfdgbench.seeds import generator
from dfdgbench.settings import DOMAIN_GENERALISATION


class Heads(nn.Module):
    """D linear layers on the same features: [B, F] -> [B, D, K].

    Args:
        shared: one layer stands in every place, the defect of the release on AlexNet (spec D8).
    """

    def __init__(self, n_features: int, num_classes: int, domains: int, shared: bool) -> None:
        super().__init__()
        first = nn.Linear(n_features, num_classes)
        others = [first if shared else nn.Linear(n_features, num_classes) for _ in range(domains - 1)]
        self.heads = nn.ModuleList([first, *others])

    def forward(self, features: Tensor) -> Tensor:
        return torch.stack([head(features) for head in self.heads], 1)


class MultiHeadedNetwork(Family):
    """A network with :class:`Heads`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Every head's scores [B, D, K]."""
        scores: Tensor = self.network(images)
        return scores

    def together(self, views: Sequence[Any], images: Tensor) -> list[Tensor]:
        scores = self(images)
        return [scores.mean(1) if view.head is None else scores[:, view.head] for view in views]


class HeadView(View):
    """Predict by one head, or by the mean of all heads' scores before the softmax.

    Args:
        head: number of a source domain, None for the mean.
        own: what it answers by where the image's source domain is known: in "validation" alone, "always", or "never".
    """

    def __init__(self, family: Family, head: int | None = None, own: str = "never", *, keeps: bool = False) -> None:
        super().__init__(family, keeps=keeps)
        self.head, self.own = head, own

    def forward(self, images: Tensor) -> Tensor:
        if self.own == "always":
            raise ConfigError(
                "The predictor 'known-domain' needs the source domain that the images are from; say which, or take 'all-heads'."
            )
        return super().forward(images)

    def answering(self, position: int | None, use: str) -> HeadView | None:
        """The view for images of source domain ``position``, None where there is none to be had."""
        if position is None:
            return None if self.own == "always" else self
        routed = self.own == "always" or (self.own == "validation" and use == "validation")
        return HeadView(self.family, position) if routed else self


@register("Multi-Headed", setting=DOMAIN_GENERALISATION, paper=DMG_PAPER)
class MultiHeaded(Aggregate):
    """Share all but the last layer, of which every source domain has its own; average all heads' scores when tested.

    In training and validation an image goes to its own domain's head. ``known-domain`` predicts so on the sources' other
    splits too (NaN on a domain that was not trained on).

    Limits: ``shared_head`` repeats a defect of the release, whose AlexNet has one layer in every head's place: it is then
    Aggregate with another start (spec D8). Epochs and the new layers' N(0, 0.001) on both datasets are the release's.
    """

    class Hparams(Aggregate.Hparams):
        shared_head: bool = hparam(False, doc="one layer in every head's place: the release's defect on AlexNet")
        head_init: Literal["default", "normal"] = hparam(
            "normal", doc="the new layers' weights: N(0, head_std) with biases of 0, or PyTorch's default"
        )

    presets = {
        "paper": {**PAPER, "head_init": PerDataset("default", {"DomainNet": "normal"})},
        "code": {**CODE, "epochs": PerDataset(50, {"PACS": 100}), "head_init": "normal"},
    }

    compares_domains = True

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        require_domains([problem.domain_name(domain) for domain in problem.sources], cls.name, 2)
        return super().plan(problem, hparams)

    def shaped(self, network: Network) -> nn.Module:
        random = generator(self.seed, "heads")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            heads = Heads(network.n_features, self.num_classes, self.num_domains, self.hparams.shared_head)
        if self.hparams.head_init == "normal":
            initialise_normal(heads, self.hparams.head_std, random)
        network.classifier = heads
        return MultiHeadedNetwork(network)

    def loss(self, images: Tensor, labels: Tensor, domains: Tensor) -> tuple[Tensor, Metrics]:
        scores: Tensor = self.body(images)
        return self.class_loss(scores[torch.arange(len(domains), device=domains.device), domains], labels), {}

    def predict(self, x: Tensor) -> Tensor:
        scores: Tensor = self.body(x)
        return scores.mean(1)

    def predictors(self) -> dict[str, nn.Module]:
        return {
            "all-heads": HeadView(self.body, own="validation", keeps=True),
            "known-domain": HeadView(self.body, own="always"),
        }
