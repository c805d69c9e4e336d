"""SRe2L: images recovered from a squeezed model's labels and batch-normalisation statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.algorithms.base import register
from dfdgbench.algorithms.distilled import SRE2L_PAPER, Distilled, DistilledHparams
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Stage
from dfdgbench.engine.work import Work
from dfdgbench.hparams import group, hparam
from dfdgbench.losses.moments import moment_loss, network_bands
from dfdgbench.networks.base import Network
from dfdgbench.networks.norm import check_batch_norm
from dfdgbench.networks.taps import Taps
from dfdgbench.settings import DISTILLED
from dfdgbench.stages.pool import Shard
from dfdgbench.stages.recover import Group, Recover, Recovery
from dfdgbench.stages.squeeze import Squeezed, require_statistics
from dfdgbench.stages.statistics import StyleMeasure, Styles, pairs, stored_statistics

Targets = Literal["buffers", "measured"]


class SRe2LRecovery(Recovery):
    """Hyper-parameters of SRe2L's images (spec, section 4.1; the reference's ImageNet script where the paper is silent)."""

    bn_weight: float = hparam(0.01, ge=0, doc="weight of the batch-normalisation term (r_bn)")
    first_bn_multiplier: float = hparam(10.0, ge=0, doc="factor of the first layer")
    bn_targets: Targets = hparam(
        "buffers", doc="what statistics are matched: the model's buffers (the paper's), or those of the source images"
    )
    ids_per_group: int = hparam(1, gt=0, doc="images of each class whose statistics are matched together")
    groups_per_shard: int = hparam(10, gt=0, doc="groups that are stepped in one batch; changes only the last digits")


class SRe2LRecover(Recover):
    """Images of every class, ``groups_per_shard`` groups of them, one draw of crops a group.

    Loss: cross-entropy plus ``bn_weight`` times the distances of means and variances (norms, not squared) at the input of every
    batch normalisation. The number of images of the set is not in its key: IPC 10 is the first part of IPC 50.
    """

    kind = "sre2l"
    hparams: SRe2LRecovery

    def __init__(self, made_from: Squeezed, hparams: SRe2LRecovery, index: int) -> None:
        measured: list[Stage] = []
        if hparams.bn_targets == "measured":
            measure = StyleMeasure(moments="pooled")
            measured = [Styles(made_from, made_from.models[0], measure, made_from.domains)]
        super().__init__(made_from.problem, hparams, made_from.domains, [*made_from.models, *measured], index)

    @property
    def images(self) -> int:
        return self.hparams.groups_per_shard * self.hparams.ids_per_group * self.classes

    def groups(self) -> list[Group]:
        count = self.hparams.groups_per_shard
        labels = torch.arange(self.classes).repeat(self.hparams.ids_per_group)
        return [Group(number, labels) for number in range(self.index * count, (self.index + 1) * count)]

    def prepare(self, models: Sequence[Network], work: Work) -> dict[str, Any]:
        (model,) = models
        check_batch_norm(model, self.problem.network.name)
        measured = self.hparams.bn_targets == "measured"
        targets = pairs(work.input(self.inputs[1])) if measured else stored_statistics(model)
        return {"_bands": network_bands(targets, targets, 0.0, "channel")}

    def losses(self, state: State, views: Tensor, labels: Tensor, number: int) -> dict[str, Tensor]:
        with Taps(state._models[0], groups=len(labels)) as taps:
            logits = state._models[0](views)
            statistics = moment_loss(taps.moments(), state._bands, self.hparams.first_bn_multiplier)
        entropy = functional.cross_entropy(logits, labels.flatten(), reduction="none").view(labels.shape).mean(1)
        return {"loss": entropy + self.hparams.bn_weight * statistics, "ce": entropy, "bn": statistics}


class SRe2LHparams(DistilledHparams):
    """Hyper-parameters of SRe2L."""

    recover: SRe2LRecovery = group(SRe2LRecovery, searched=False, doc="the images")


@register("SRe2L", setting=DISTILLED, paper=SRE2L_PAPER)
class SRe2L(Distilled):
    """Squeeze the sources into a model, recover images from its statistics and labels, relabel them for a student.

    Across domains the paper freezes batch normalisation, so that the statistics matched are still those of the initial
    weights. Presets: ``measured-targets`` (the source images' instead), ``live-bn`` (nothing frozen), ``equal-storage`` (three
    times the images across domains, as many as per domain), ``mini`` (minutes on two cores).
    """

    Hparams = SRe2LHparams
    more_presets = {"measured-targets": {"recover.bn_targets": "measured"}, "equal-storage": {"ipc": 150}}

    @classmethod
    def check(cls, problem: Problem, hparams: Any, sets: Sequence[Squeezed]) -> None:
        require_statistics(sets)

    @classmethod
    def recovered(cls, made_from: Squeezed, hparams: Any) -> Sequence[Shard]:
        size: SRe2LRecovery = hparams.recover
        shards = -(-hparams.ipc // (size.groups_per_shard * size.ids_per_group))
        return [SRe2LRecover(made_from, size, index) for index in range(shards)]
