"""Predictors made of teachers without training: ensembles, candidates, soups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import PredictorStage, Stage
from dfdgbench.engine.work import Work
from dfdgbench.losses.ensembles import average_prediction, highest_confidence
from dfdgbench.networks.base import Network, build
from dfdgbench.networks.norm import batch_norms
from dfdgbench.networks.taps import pooled_moments
from dfdgbench.stages.pool import PoolSet, join
from dfdgbench.stages.train import Teacher

RULES: dict[str, Callable[[Tensor], Tensor]] = {"average": average_prediction, "lowest entropy": highest_confidence}
Rule = Literal["average", "lowest entropy"]


class Combined(PredictorStage):
    """Base of stages that have no steps: their predictors are made of their inputs, whenever asked for."""

    def start(self, work: Work) -> State:
        return State(_predictors=self.build(work))

    def predictors(self, state: State, work: Work) -> dict[str, nn.Module]:
        predictors: dict[str, nn.Module] = state._predictors
        return predictors

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        return {}

    def load(self, folder: Path, work: Work) -> dict[str, nn.Module]:
        return self.build(work)


class Ensemble(nn.Module):
    """Teachers whose probabilities (temperature 1) are combined by a rule: images [B, 3, H, W] to probabilities [B, K]."""

    def __init__(self, teachers: Sequence[nn.Module], rule: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.teachers, self.rule = nn.ModuleList(teachers), rule

    def forward(self, images: Tensor) -> Tensor:
        return self.rule(torch.stack([teacher(images).softmax(-1) for teacher in self.teachers]))


class Combine(Combined):
    """One ensemble of all teachers (a baseline of DEKAN, arXiv 2110.04545)."""

    kind = "ensemble"

    def __init__(self, teachers: Mapping[int, Teacher], problem: Problem, rule: Rule) -> None:
        super().__init__(problem, domains=list(teachers), inputs=list(teachers.values()), seed=problem.seed)
        self.rule: Rule = rule

    def facts(self) -> Mapping[str, Any]:
        return {"rule": self.rule}

    def build(self, work: Work) -> dict[str, nn.Module]:
        return {"default": Ensemble([work.input(teacher) for teacher in self.inputs], RULES[self.rule])}


class Candidates(Combined):
    """Every teacher as a predictor; the default one is the best on the held-out domains' validation splits.

    That choice is made where records are made, not by a stage: it is an oracle, which a table marks.
    """

    kind = "candidates"

    def __init__(self, teachers: Mapping[int, Teacher], problem: Problem) -> None:
        super().__init__(problem, domains=list(teachers), inputs=list(teachers.values()), seed=problem.seed)

    def build(self, work: Work) -> dict[str, nn.Module]:
        return {name: work.input(teacher) for name, teacher in zip(self.domains, self.inputs, strict=True)}

    def default(self, accuracies: Mapping[str, Mapping[str, float]]) -> str:
        split, suffix = self.problem.protocol.validation, self.problem.task.suffixes[0]
        keys = [f"env{target}_{split}_{suffix}" for target in self.problem.targets]

        def score(name: str) -> float:
            total = sum(accuracies[name].get(key, float("nan")) for key in keys)
            return total if total == total else -1.0

        return max(accuracies, key=score)


class Soup(Combined):
    """The teachers' weights averaged, with batch-normalisation statistics of the inverted images (no distillation).

    Sensible because all teachers of a trial start from the same weights.
    """

    kind = "soup"

    def __init__(self, teachers: Mapping[int, Teacher], sets: Sequence[PoolSet], problem: Problem) -> None:
        shards: list[Stage] = [shard for pool_set in sets for shard in pool_set.shards]
        super().__init__(problem, domains=list(teachers), inputs=[*teachers.values(), *shards], seed=problem.seed)
        self.teachers, self.sets = dict(teachers), list(sets)

    def build(self, work: Work) -> dict[str, nn.Module]:
        soup = work.place(build(next(iter(self.teachers.values())).network, seed=0))
        states = [work.input(teacher).state_dict() for teacher in self.teachers.values()]
        soup.load_state_dict({name: _average([state[name] for state in states]) for name in states[0]})
        pool = join([pool_set.pool(work) for pool_set in self.sets])
        _recompute_statistics(soup.eval(), lambda: map(work.runtime.images, pool.batches(256, work.device)))
        return {"default": soup}


def _average(values: Sequence[Tensor]) -> Tensor:
    return torch.stack([value.double() for value in values]).mean(0).to(values[0].dtype)


def _recompute_statistics(network: Network, batches: Callable[[], Any]) -> None:
    """Set each batch normalisation to the pooled moments of its input, one layer after the other: a layer's input
    depends on the statistics of those before it."""
    for position, (_, layer) in enumerate(batch_norms(network)):
        mean, variance = pooled_moments(network, batches())[position]
        assert layer.running_mean is not None and layer.running_var is not None
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
