"""CBST: self-training on the surest pixels of every class, in rounds."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from dfdgbench.algorithms.adaptation import Adapting, Rival
from dfdgbench.algorithms.base import Paper, register
from dfdgbench.datasets.feed.training import Batch
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import hparam
from dfdgbench.losses.pseudo_labels import class_thresholds, pseudo_labels
from dfdgbench.networks.norm import apply_bn_policy
from dfdgbench.seeds import generator
from dfdgbench.settings import UNSUPERVISED_ADAPTATION, Read
from dfdgbench.stages.adapt import Given, images_of, target_reads
from dfdgbench.tasks.segmentation import IGNORED


@register(
    "CBST",
    setting=UNSUPERVISED_ADAPTATION,
    paper=Paper("Zou et al. 2018, Unsupervised domain adaptation via class-balanced self-training", arxiv="1810.07911"),
)
class CBST(Rival):
    """Cross-entropy on labelled source pixels and on the surest target pixels of every class, labelled anew each round.

    In round r the portion ``portion + r · portion_step`` of the pixels predicted as a class are labelled, by the model as it
    was when the round began. A step's batch mixes target images with source images in the proportion in which a pass over
    the target and over ``source_share`` of the source would; with ``source_sampling=share`` its source images are of such a share
    alone, which every round draws anew. Batch normalisation keeps the source's statistics.
    """

    class Hparams(Adapting):
        lr: float = hparam(5e-5, gt=0, doc="learning rate of SGD")
        power: float = hparam(0.0, ge=0, doc="power of the learning rate's decay; 0: constant")
        weight_decay: float = hparam(5e-4, ge=0, doc="weight decay")
        epochs: int = hparam(2, gt=0, doc="passes a round, over the target and the share of the source")
        rounds: int = hparam(3, gt=0, doc="how often pixels are labelled")
        budget: Literal["own", "common"] = hparam(
            "own", doc="own: rounds of epochs; common: 120 passes over the target"
        )
        portion: float = hparam(0.2, gt=0, le=1, doc="part of each class's pixels that the first round labels")
        portion_step: float = hparam(0.05, ge=0, doc="what every further round adds")
        portion_max: float = hparam(0.5, gt=0, le=1, doc="at most")
        source_share: float = hparam(0.03, ge=0, le=1, doc="part of the source's images that a pass of round 1 holds")
        source_share_step: float = hparam(0.0025, ge=0, doc="what every further round adds")
        source_share_max: float = hparam(0.06, ge=0, le=1, doc="at most")
        source_sampling: Literal["all", "share"] = hparam(
            "all", doc="share: a round's source images are of a share of them, drawn anew for each round; all: of all"
        )
        stride: int = hparam(4, gt=0, doc="thresholds come from every so many-th pixel")
        freeze_bn: bool = hparam(True, doc="keep batch normalisation at the source's statistics")

    tiny = {**Rival.tiny, "rounds": 2}

    def __init__(self, given: Given, hparams: Any) -> None:
        super().__init__(given, hparams)
        # Another network, not a copy of this one: what was put on a device cannot be copied.
        self.labeller = given.copy().eval().requires_grad_(False)
        self.thresholds = torch.ones(given.num_classes, device=given.device)
        self.mixing = torch.Generator().manual_seed(given.seed)
        if hparams.freeze_bn:
            apply_bn_policy(self.model, "frozen")

    @classmethod
    def usual_steps(cls, problem: Problem, hparams: Any) -> int:
        if hparams.budget == "common":
            passes_in_common: int = Adapting.model_fields["epochs"].default
            batches: int = images_of(problem, target_reads(problem)) // hparams.batch_size
            return passes_in_common * max(1, batches)
        sources = [Read(domain, problem.protocol.train) for domain in problem.sources]
        counts = images_of(problem, sources), images_of(problem, target_reads(problem))
        passes = [pass_of(counts, hparams, number) for number in range(hparams.rounds)]
        return sum(hparams.epochs * math.ceil(sum(each) / hparams.batch_size) for each in passes)

    def update(self, number: int, images: Tensor | None, labelled: Batch | None) -> Metrics:
        assert images is not None and labelled is not None
        current = self._round(number)
        if number == 0 or current != self._round(number - 1):
            self._begin(current)
        with torch.no_grad():
            targets = pseudo_labels(self.labeller(images), self.thresholds, IGNORED)
        share, whole = pass_of(self.given.counts, self.hparams, current)
        of_source = (torch.rand(len(images), generator=self.mixing) < share / (share + whole)).to(images.device)
        mixed = torch.where(of_source[:, None, None, None], labelled[0], images)
        masks = torch.where(of_source[:, None, None], labelled[1], targets)
        loss = self.given.task.loss(self.model(mixed), masks)
        self.descend(number, loss)
        return {"loss": loss.detach(), "labelled": (targets != IGNORED).float().mean()}

    def source_positions(self, number: int) -> Tensor | None:
        """The share of the round that step ``number`` is in, drawn without replacement; None where all images serve."""
        if self.hparams.source_sampling == "all":
            return None
        current, (count, _) = self._round(number), self.given.counts
        share = max(1, round(pass_of(self.given.counts, self.hparams, current)[0]))
        return torch.randperm(count, generator=generator("source share", self.given.seed, current))[:share]

    def _round(self, number: int) -> int:
        """The round that step ``number`` is in, from 0."""
        return int(number * self.hparams.rounds // self.given.steps)

    @torch.no_grad()
    def _begin(self, current: int) -> None:
        """Label with the model as it is now, by thresholds over all target images."""
        h = self.hparams
        self.labeller.load_state_dict(self.model.state_dict())
        found = [
            [each.flatten()[:: h.stride] for each in self.labeller(images).softmax(1).max(1)]
            for images in self.given.targets()
        ]
        sure, classes = (torch.cat(each) for each in zip(*found, strict=True))
        portion = min(h.portion + current * h.portion_step, h.portion_max)
        self.thresholds = class_thresholds(sure, classes, self.given.num_classes, portion)


def pass_of(counts: tuple[int, int], hparams: Any, current: int) -> tuple[float, float]:
    """Source images and target images in a pass of round ``current``, given how many there are."""
    share = min(hparams.source_share + current * hparams.source_share_step, hparams.source_share_max)
    return share * counts[0], float(counts[1])
