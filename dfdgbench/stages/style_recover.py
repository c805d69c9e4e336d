"""Images of one class at a time, pulled to a style: the first half of domain transfer learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.engine.snapshots import State
from dfdgbench.engine.work import Work
from dfdgbench.errors import ConfigError
from dfdgbench.hparams import hparam
from dfdgbench.losses.densification import spectrum_divergence
from dfdgbench.losses.styles import EPSILON, Reduction, Style, average_style, set_style, style_distance
from dfdgbench.networks.base import Network
from dfdgbench.networks.entering import StyleLayers, style_layers
from dfdgbench.networks.taps import moments
from dfdgbench.stages.recover import Group, Recover, Recovery
from dfdgbench.stages.squeeze import Squeezed
from dfdgbench.stages.statistics import Styles, pairs

LARGEST_BATCH = 50


class StyleRecovery(Recovery):
    """Hyper-parameters of DTL's images; none of them is in the paper (spec, section 4.4)."""

    lr: float = hparam(0.1, gt=0, doc="learning rate of Adam(0.5, 0.9) at the start of its cosine")
    roll: int | None = hparam(0, ge=0, doc="largest cyclic shift in pixels")
    batch: int | None = hparam(
        None, gt=0, doc="images of a class at a time (B); all of them, at most 50, where not given"
    )
    ce_weight: float = hparam(1.0, ge=0, doc="weight of the cross-entropy (a_ce)")
    style_weight: float = hparam(1.0, ge=0, doc="weight of the style (a_style)")
    reduction: Reduction = hparam("mean", doc="how squared differences are reduced over channels (rho)")
    unbiased: bool = hparam(True, doc="whether the spread of channels divides by n - 1")
    densify: float = hparam(0.0, ge=0, doc="weight of G-VBSM's densification, which Eq. 12 has not")
    groups_per_shard: int = hparam(10, gt=0, doc="groups that are stepped in one batch; changes only the last digits")


def batch_size(hparams: StyleRecovery, ipc: int) -> int:
    """Images of a class at a time (B)."""
    size = hparams.batch or min(ipc, LARGEST_BATCH)
    if ipc % size:
        raise ConfigError(
            f"ipc={ipc} is no multiple of the batch of {size} images of a class. Type --hparam recover.batch=B with a divisor of "
            f"{ipc}."
        )
    return size


class RecoverStyle(Recover):
    """Images of some classes under the cross-entropy and the style of the set's domains (Eq. 12, the part of S).

    The target is the domains' mean style, which of a single domain is its own. The gradient of the transfer network never
    reaches the images, so that this stage is the same for all rows with one set.

    Args:
        styles: of the domains.
        whole: all groups at once, for whoever steps them itself.
    """

    kind = "dtl"
    version = 3
    hparams: StyleRecovery

    def __init__(
        self,
        made_from: Squeezed,
        hparams: StyleRecovery,
        domains: Sequence[int],
        styles: Sequence[Styles],
        ipc: int,
        index: int,
        *,
        normalise: bool,
        whole: bool = False,
    ) -> None:
        super().__init__(made_from.problem, hparams, domains, [*made_from.models, *styles], index)
        self.styles, self.ipc, self.normalise = list(styles), ipc, normalise
        self.batch = batch_size(hparams, ipc)
        count = self.classes * (ipc // self.batch)
        each = count if whole else hparams.groups_per_shard
        self.numbers = range(index * each, min((index + 1) * each, count))

    def facts(self) -> Mapping[str, Any]:
        return {"batch": self.batch, "ipc": self.ipc, "normalise": self.normalise}

    @property
    def layers(self) -> StyleLayers:
        measured: StyleLayers = self.styles[0].hparams.layers
        return measured

    @property
    def images(self) -> int:
        return len(self.numbers) * self.batch

    def groups(self) -> list[Group]:
        of_class = self.ipc // self.batch
        return [Group(number, torch.full((self.batch,), number // of_class)) for number in self.numbers]

    def prepare(self, models: Sequence[Network], work: Work) -> dict[str, Any]:
        measured = [domain_style(work.input(stage)) for stage in self.styles]
        return {"_target": [average_style(layer) for layer in zip(*measured, strict=True)]}

    def losses(self, state: State, views: Tensor, labels: Tensor, number: int) -> dict[str, Tensor]:
        hparams, groups = self.hparams, len(labels)
        model = state._models[0]
        with style_layers(model, self.layers) as seen:
            logits = model(views)
            tensors = seen.tensors()
        entropy = functional.cross_entropy(logits, labels.flatten(), reduction="none").view(groups, -1).mean(1)
        style = torch.stack(
            [
                style_distance(
                    set_style(*moments(tensor, groups=len(views)), groups),
                    target,
                    normalise=self.normalise,
                    reduction=hparams.reduction,
                    unbiased=hparams.unbiased,
                )
                for tensor, target in zip(tensors, state._target, strict=True)
            ]
        ).sum(0)
        loss = hparams.ce_weight * entropy + hparams.style_weight * style
        terms = {"ce": entropy, "style": style}
        if hparams.densify:
            terms["densification"] = spectrum_divergence(views.reshape(groups, len(views) // groups, -1))
            loss = loss + hparams.densify * terms["densification"]
        return {"loss": loss, **terms}


def domain_style(parts: Sequence[Tensor]) -> list[Style]:
    """(m, s) of every layer, from what :class:`~dfdgbench.stages.statistics.Styles` leaves."""
    return [(mean, (variance + EPSILON).sqrt()) for mean, variance in pairs(parts)]
