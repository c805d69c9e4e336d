"""SWAD: average densely over the flat valley of the validation loss."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.algorithms.stepwise import Minibatch
from dfdgbench.engine.evaluation import measure
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, PredictorStage
from dfdgbench.engine.work import Work
from dfdgbench.hparams import case, hparam
from dfdgbench.settings import DOMAIN_GENERALISATION, Read
from dfdgbench.stages.train import Train
from dfdgbench.tasks.base import Accumulator
from dfdgbench.tasks.classification import Classification

NOT_YET = float("inf")


@register("SWAD", setting=DOMAIN_GENERALISATION, paper=Paper("Cha et al. 2021", arxiv="2102.08604"))
class SWAD(ERM):
    """ERM whose weights are averaged over every step from where the sources' validation loss stops falling to where it rises.

    The loss is measured every ``swad_every`` steps, a segment. Averaging begins with the segment that is the best of
    ``swad_converge`` in a row and ends ``swad_tolerate`` segments before all of so many are worse than ``swad_ratio`` times
    the mean loss at the beginning (Algorithm 1). Statistics of batch normalisation are averaged like weights. Until it begins,
    the evaluated network is the trained one.
    """

    class Hparams(ERM.Hparams):
        swad_every: int = hparam(100, ge=1, doc="steps between two measurements of the sources' validation loss")
        swad_converge: int = hparam(
            3, ge=1, doc="measurements of which the first must be the best for averaging to begin"
        )
        swad_tolerate: int = hparam(6, ge=1, doc="measurements that must all be too bad for averaging to end")
        swad_ratio: float = hparam(
            1.3, by_dataset={"VLCS": case(1.2)}, gt=1, doc="how much worse than at the beginning is too bad"
        )

    tiny = {"swad_every": 1, "swad_converge": 1, "swad_tolerate": 2}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        nothing = flat(self.network).new_zeros(0)
        self.segment, self.in_segment = nothing, 0
        # Segments that may still turn out to lie behind the valley, one a row, and the losses measured last.
        self.pending, self.losses = nothing, nothing
        self.total, self.segments = nothing, 0
        self.threshold, self.ended = NOT_YET, 0

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        metrics = super().update(minibatches)
        now = flat(self.network)
        self.in_segment += 1
        self.segment = now if self.in_segment == 1 else self.segment + (now - self.segment) / self.in_segment
        return metrics

    def validated(self, loss: float) -> None:
        """End a segment with the sources' validation loss after it."""
        kept = max(self.hparams.swad_converge, self.hparams.swad_tolerate)
        self.losses = torch.cat([self.losses, self.losses.new_tensor([loss])])[-kept:]
        segment, self.in_segment = self.segment[None], 0
        if self.ended:
            return
        self.pending = torch.cat([self.pending.view(-1, segment.shape[1]), segment])
        if self.threshold == NOT_YET:
            self._begin()
        else:
            self._go_on()

    def _begin(self) -> None:
        count = self.hparams.swad_converge
        self.pending = self.pending[-count:]
        last = self.losses[-count:]
        if len(last) == count and last[0] == last.min():
            self.threshold = float(self.hparams.swad_ratio * last.mean())
            self._take(count)

    def _go_on(self) -> None:
        count = self.hparams.swad_tolerate
        if len(self.pending) > count:
            self._take(1)
        if len(self.pending) == count and float(self.losses[-count:].min()) > self.threshold:
            self.pending, self.ended = self.pending[:0], 1

    def _take(self, count: int) -> None:
        """Add the oldest pending segments to the average for good."""
        taken = self.pending[:count].sum(0)
        self.total = taken if not self.segments else self.total + taken
        self.pending, self.segments = self.pending[count:], self.segments + count

    def predictors(self) -> dict[str, nn.Module]:
        self.averaged.load_state_dict(self.network.state_dict())
        if self.segments:
            pending = self.pending.view(-1, len(self.total))
            fill(self.averaged, (self.total + pending.sum(0)) / (self.segments + len(pending)))
        return {"default": self.averaged}

    def predict(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network(x) if self.training else self.predictors()["default"](x)
        return scores

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        return Watched(cls, problem, problem.sources, hparams, steps=problem.steps, seed=problem.seed)


class Watched(Train):
    """Training that tells the algorithm the sources' validation loss, as the setting grants."""

    def __init__(self, algorithm: Any, problem: Problem, domains: Sequence[int], hparams: Any, **options: Any) -> None:
        super().__init__(algorithm, problem, domains, hparams, **options)
        self._watched = [Read(domain, problem.protocol.validation) for domain in domains]
        self.reads = (*self.reads, *self._watched)

    def step(self, state: State, work: Work, number: int) -> Metrics:
        metrics = super().step(state, work, number)
        every: int = self.hparams.swad_every  # type: ignore[union-attr]
        if (number + 1) % every == 0:
            losses = [self._loss(state, work, read) for read in self._watched]
            state._algorithm.validated(sum(losses) / len(losses))
        return metrics

    def _loss(self, state: State, work: Work, read: Read) -> float:
        reader = self.problem.reader(read.domain, work.device)
        return measure(state._algorithm.network, work.split(read), Risk(), work.runtime, reader)["loss"]


class Risk(Classification):
    """Classification whose metric is the mean cross-entropy."""

    def accumulator(self) -> Accumulator:
        return _MeanLoss()


class _MeanLoss(Accumulator):
    def __init__(self) -> None:
        self.total, self.seen = 0.0, 0

    def update(self, scores: Tensor, targets: Tensor) -> None:
        self.total += float(functional.cross_entropy(scores.float(), targets, reduction="sum"))
        self.seen += len(targets)

    def compute(self) -> dict[str, float]:
        return {"loss": self.total / self.seen if self.seen else float("nan")}


def _floats(network: nn.Module) -> list[Tensor]:
    return [value.detach() for value in network.state_dict().values() if value.is_floating_point()]


def flat(network: nn.Module) -> Tensor:
    """Weights and running statistics in one vector."""
    return torch.cat([value.flatten() for value in _floats(network)])


def fill(network: nn.Module, vector: Tensor) -> None:
    """Give ``network`` the weights and running statistics of :func:`flat`'s vector."""
    values = _floats(network)
    for value, part in zip(values, vector.split([value.numel() for value in values]), strict=True):
        value.copy_(part.view_as(value))
