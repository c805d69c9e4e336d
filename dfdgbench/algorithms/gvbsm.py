"""G-VBSM: several backbones in turn, statistics of every convolution, and densification of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.algorithms.base import register
from dfdgbench.algorithms.distilled import GVBSM_PAPER, Distilled, DistilledHparams
from dfdgbench.engine.flops import OPTIMISED, forward_flops
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Stage
from dfdgbench.engine.work import Work
from dfdgbench.errors import ConfigError
from dfdgbench.hparams import case, group, hparam
from dfdgbench.losses.densification import densification
from dfdgbench.losses.tiles import MovingAverage, channel_moments, convolution_statistics, distances
from dfdgbench.networks.base import Network
from dfdgbench.networks.entering import Layers, convolutions
from dfdgbench.networks.norm import batch_norms, check_batch_norm
from dfdgbench.seeds import generator
from dfdgbench.settings import DISTILLED
from dfdgbench.stages.pool import Shard
from dfdgbench.stages.recover import Active, Group, Recover, Recovery
from dfdgbench.stages.squeeze import Squeezed, require_statistics
from dfdgbench.stages.statistics import ConvolutionStatistics, Pass, StyleMeasure, Styles, pairs, stored_statistics
from dfdgbench.stages.validate import Studying

BATCH = 80


class GVBSMRecovery(Recovery):
    """Hyper-parameters of G-VBSM's images (spec, section 4.2; the reference's ImageNet script where the paper is silent)."""

    networks: tuple[str, ...] = hparam(
        ("resnet18", "resnet50"), small=case(("smallcnn", "WRN-16-2")), doc="the backbones, one an iteration in turn"
    )
    lr: float = hparam(0.1, gt=0, doc="learning rate of Adam(0.5, 0.9) at the start of its cosine")
    statistics_weight: float = hparam(0.01, ge=0, doc="weight of all statistics")
    model_weights: tuple[float, ...] = hparam((), doc="further weight of each backbone's statistics; 1 where not given")
    densification_weight: float = hparam(1.0, ge=0, doc="weight of the densification")
    temperature: float = hparam(4.0, gt=0, doc="tau of the densification")
    ema: float = hparam(0.4, ge=0, lt=1, doc="weight of the past in the moving average of statistics (alpha)")
    ema_start: Literal["zero", "first"] = hparam(
        "zero", doc="the average starts at zero (the reference) or at the first value"
    )
    ema_across: Literal["carried", "fresh"] = hparam(
        "carried",
        doc="the average goes on from batch to batch (the reference), or starts anew, so that batches are shards",
    )
    drop: float = hparam(
        0.0, ge=0, lt=1, doc="probability that a convolution's statistics are left out of a step (beta_dr)"
    )
    first_multiplier: float = hparam(10.0, ge=0, doc="factor of the first layer")
    bn_targets: Literal["buffers", "measured"] = hparam(
        "buffers", doc="what batch-normalisation statistics are matched: the model's buffers, or the source images'"
    )


class GVBSMRecover(Recover):
    """All images of some whole classes at once, ``max(1, 80 // ipc)`` classes a batch, batch after batch.

    Args:
        batches: the batches of classes of this shard.
        first: how many steps other shards take before it: backbones take turns through the whole set.
    """

    kind = "g-vbsm"
    hparams: GVBSMRecovery

    def __init__(
        self, made_from: Squeezed, hparams: GVBSMRecovery, ipc: int, batches: Sequence[range], index: int
    ) -> None:
        self._count = len(made_from.models)
        statistics: list[Stage] = [
            ConvolutionStatistics(made_from, model, Pass(), made_from.domains) for model in made_from.models
        ]
        if hparams.bn_targets == "measured":
            measure = StyleMeasure(moments="pooled")
            statistics += [Styles(made_from, model, measure, made_from.domains) for model in made_from.models]
        super().__init__(made_from.problem, hparams, made_from.domains, [*made_from.models, *statistics], index)
        self.ipc, self.batches, self.first = ipc, list(batches), index * hparams.steps

    def facts(self) -> Mapping[str, Any]:
        return {"ipc": self.ipc, "classes": [list(batch) for batch in self.batches]}

    @property
    def models(self) -> Sequence[Any]:
        return self.inputs[: self._count]

    @property
    def images(self) -> int:
        return self.ipc * sum(len(batch) for batch in self.batches)

    @property
    def steps(self) -> int:
        return self.hparams.steps * len(self.batches)

    def cost(self) -> float:
        each = sum(forward_flops(model.problem.network) for model in self.models) / self._count
        return self.hparams.steps * self.images * OPTIMISED * each

    def groups(self) -> list[Group]:
        return [Group(batch[0], torch.tensor(list(batch)).repeat_interleave(self.ipc)) for batch in self.batches]

    @staticmethod
    def stacked(parts: list[Tensor]) -> Tensor:
        """One row of all images: batches may differ in size, so groups are slices of it."""
        return torch.cat(parts)[None]

    def prepare(self, models: Sequence[Network], work: Work) -> dict[str, Any]:
        targets, averages = [], []
        for position, model in enumerate(models):
            check_batch_norm(model, self.models[position].problem.network.name)
            cache: list[Tensor] = work.input(self.inputs[self._count + position])
            measured = self.hparams.bn_targets == "measured"
            stored = (
                pairs(work.input(self.inputs[2 * self._count + position])) if measured else stored_statistics(model)
            )
            targets.append(_targets(model, cache, stored))
            averages.append([MovingAverage(self.hparams.ema, self.hparams.ema_start) for _ in targets[-1]])
        ends = torch.tensor([0, *(len(batch) * self.ipc for batch in self.batches)]).cumsum(0).tolist()
        return {"averages": averages, "_targets": targets, "_ends": ends}

    def active(self, state: State, number: int) -> Active:
        batch, done = divmod(number, self.hparams.steps)
        return Active(slice(batch, batch + 1), (slice(None), slice(state._ends[batch], state._ends[batch + 1])), done)

    def losses(self, state: State, views: Tensor, labels: Tensor, number: int) -> dict[str, Tensor]:
        turn = (self.first + number) % self._count
        network: Network = state._models[turn]
        layers = _layers(network)
        with Layers(network, layers) as seen:
            entropy = functional.cross_entropy(network(views), labels[0])
            entered = seen.tensors()
        skipped = self._skipped(len(layers), number)
        total = entropy.new_zeros(())
        for place, (layer, tensor) in enumerate(zip(layers, entered, strict=True)):
            convolution = isinstance(layer, torch.nn.Conv2d)
            if convolution and skipped[place]:
                continue
            now = convolution_statistics(tensor) if convolution else channel_moments(tensor)
            averaged = state.averages[turn][place](now)
            factor = self.hparams.first_multiplier if place == 0 else 1.0
            total = total + factor * distances(state._targets[turn][place], averaged)
        weights = self.hparams.model_weights
        weight = self.hparams.statistics_weight * (weights[turn] if weights else 1.0)
        dense = densification(views, labels.shape[1] // self.ipc, self.hparams.temperature)
        loss = entropy + self.hparams.densification_weight * dense + weight * total
        return {"loss": loss, "ce": entropy, "statistics": total, "densification": dense}

    def _skipped(self, layers: int, number: int) -> list[bool]:
        if not self.hparams.drop:
            return [False] * layers
        draw = generator(self.problem.trial_seed, self.kind, self.domains, self.first + number, "drop")
        return [bool(value) for value in (torch.rand(layers, generator=draw) < self.hparams.drop).tolist()]


def _layers(network: Network) -> list[torch.nn.Module]:
    """Every convolution and batch normalisation of a network, in order of registration."""
    chosen = {*convolutions(network), *(layer for _, layer in batch_norms(network))}
    return [module for module in network.modules() if module in chosen]


def _targets(
    network: Network, cache: Sequence[Tensor], stored: Sequence[tuple[Tensor, Tensor]]
) -> list[tuple[Tensor, ...]]:
    """What each layer of :func:`_layers` is pulled to."""
    of_convolutions, of_norms = iter(zip(*[iter(cache)] * 4, strict=True)), iter(stored)
    return [
        next(of_convolutions) if isinstance(layer, torch.nn.Conv2d) else next(of_norms) for layer in _layers(network)
    ]


class MatchingStudy(Studying):
    """G-VBSM's student matches logits."""

    loss: Literal["kl", "mse"] = hparam(
        "mse", doc="divergence from the softened labels, or squared error of logits and the images' own classes"
    )


class GVBSMHparams(DistilledHparams):
    """Hyper-parameters of G-VBSM; ``squeeze.network`` is not used, ``recover.networks`` is."""

    student: MatchingStudy = group(MatchingStudy, doc="the student")

    recover: GVBSMRecovery = group(GVBSMRecovery, searched=False, doc="the images")


@register("G-VBSM", setting=DISTILLED, paper=GVBSM_PAPER)
class GVBSM(Distilled):
    """Recover all images of a class together, from several backbones' batch-normalisation and convolution statistics.

    Labels are the backbones' logits, brought to one norm and averaged; the student matches them by squared error. Presets:
    as of SRe2L; ``mini`` has the small network alone.
    """

    Hparams = GVBSMHparams
    more_presets = {
        "measured-targets": {"recover.bn_targets": "measured"},
        "equal-storage": {"ipc": 150},
        "mini": {"recover.networks": ("smallcnn",)},
    }

    @classmethod
    def networks(cls, hparams: Any) -> Sequence[str]:
        names: tuple[str, ...] = hparams.recover.networks
        return names

    @classmethod
    def check(cls, problem: Problem, hparams: Any, sets: Sequence[Squeezed]) -> None:
        size: GVBSMRecovery = hparams.recover
        if not size.networks or (size.model_weights and len(size.model_weights) != len(size.networks)):
            raise ConfigError(
                f"G-VBSM has the backbones {list(size.networks)} and the weights {list(size.model_weights)}. Give at least one "
                "backbone, and as many weights or none: --hparam recover.model_weights='[1, 0.01]'."
            )
        require_statistics(sets)

    @classmethod
    def recovered(cls, made_from: Squeezed, hparams: Any) -> Sequence[Shard]:
        size, classes, each = hparams.recover, made_from.problem.network.num_classes, max(1, BATCH // hparams.ipc)
        batches = [range(start, min(start + each, classes)) for start in range(0, classes, each)]
        if size.ema_across == "carried":
            return [GVBSMRecover(made_from, size, hparams.ipc, batches, 0)]
        return [GVBSMRecover(made_from, size, hparams.ipc, [batch], index) for index, batch in enumerate(batches)]
