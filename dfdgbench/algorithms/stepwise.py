"""Step-wise methods in DomainBed's style: ``update(minibatches, unlabeled)`` and ``predict(x)``, and nothing about stages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfdgbench.algorithms.base import Algorithm
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import Metrics, PredictorStage
from dfdgbench.hparams import Hparams
from dfdgbench.networks.base import NetworkSpec
from dfdgbench.stages.train import Train

Minibatch = tuple[Tensor, Tensor]


class Predict(nn.Module):
    """An algorithm's ``predict`` as a module."""

    def __init__(self, algorithm: Stepwise) -> None:
        super().__init__()
        self.algorithm = algorithm

    def forward(self, images: Tensor) -> Tensor:
        return self.algorithm.predict(images)


class Stepwise(nn.Module, Algorithm):
    """Base of step-wise methods; its interface is DomainBed's.

    Optimisers, schedulers, generators, tensors and numbers that are attributes of the algorithm are snapshots' business
    like its modules: nothing has to be declared.

    Args:
        input_shape: (channels, height, width).
        num_classes: K.
        num_domains: source domains, which is the number of minibatches an update gets.
        hparams: an instance of ``Hparams``, or a dict of overrides as DomainBed gives.
        network: which network; None takes one by image size, as DomainBed does.
        seed: of the random initial weights.
        place: puts a network on its device (a run's, with its precision).

    Attributes:
        domain_names: of the source domains; the stage that trains sets it.
    """

    domain_names: tuple[str, ...] = ()

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        num_domains: int,
        hparams: Any,
        *,
        network: NetworkSpec | None = None,
        seed: int = 0,
        place: Callable[[Any], Any] = lambda module: module,
    ) -> None:
        super().__init__()
        if isinstance(hparams, Mapping):
            hparams = type(self).Hparams.build(hparams, type(self).__name__)
        self.hparams = hparams
        self.num_domains, self.num_classes, self.seed, self.place = num_domains, num_classes, seed, place
        self.spec = network or self.network_spec(
            NetworkSpec("auto", num_classes, image_size=int(input_shape[1]), channels=int(input_shape[0])), hparams
        )

    @abstractmethod
    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        """One step on one minibatch (images [B, 3, H, W], labels [B]) of every source domain; returns metrics to log."""

    @abstractmethod
    def predict(self, x: Tensor) -> Tensor:
        """Scores [B, K] of images [B, 3, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(x)

    def predictors(self) -> dict[str, nn.Module]:
        """What is evaluated, the default one first.

        One that looks at where images come from has a method ``answering(position, use)``: what answers for it on a split
        that the protocol has for ``use`` ("train", "validation", "test"), of the source domain of that number or, None, of
        another one. Several that share work name one ``family``, which computes them ``together``.
        """
        return {"default": Predict(self)}

    def diagnostics(self) -> Mapping[str, NDArray[Any]]:
        """Arrays that are kept beside every record."""
        return {}

    @classmethod
    def network_spec(cls, network: NetworkSpec, hparams: Hparams) -> NetworkSpec:
        """The run's network as this method's hyper-parameters shape it."""
        return network

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        return Train(cls, problem, problem.sources, hparams, steps=problem.steps, seed=problem.seed)


def joined(minibatches: Sequence[Minibatch]) -> Minibatch:
    """All minibatches as one."""
    return torch.cat([x for x, _ in minibatches]), torch.cat([y for _, y in minibatches])
