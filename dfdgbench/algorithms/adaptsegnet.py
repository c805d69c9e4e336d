"""AdaptSegNet: predictions on the target that a discriminator takes for those on the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdgbench.algorithms.adaptation import Levelled, LevelledRival, fixed
from dfdgbench.algorithms.base import Paper, register
from dfdgbench.datasets.feed.training import Batch
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import Metrics
from dfdgbench.errors import ConfigError
from dfdgbench.hparams import Hparams, group, hparam
from dfdgbench.networks.segmentation.adversaries import SMALLEST_MAP, OutputDiscriminator
from dfdgbench.settings import UNSUPERVISED_ADAPTATION
from dfdgbench.stages.adapt import Given

SOURCE, TARGET = 0.0, 1.0

Loss = Literal["bce", "ls"]


class Opponent(Hparams):
    """Hyper-parameters of the discriminator."""

    lr: float = hparam(1e-4, gt=0, doc="learning rate of Adam at the first step; polynomial decay")


@register(
    "AdaptSegNet",
    setting=UNSUPERVISED_ADAPTATION,
    paper=Paper("Tsai et al. 2018, Learning to adapt structured output space", arxiv="1802.10349"),
)
class AdaptSegNet(LevelledRival):
    """Cross-entropy on the source, and maps of probabilities on the target that pass for the source's. ``--preset
    multi-level`` does the same with a second head, against a discriminator of its own; ``--preset least-squares`` by least
    squares (``loss=ls``) at the weight that the release gives these.

    A discriminator learns to tell the two domains' maps apart, one step after each of the model's.
    """

    class Hparams(Levelled):
        lambda_: float = hparam(0.001, ge=0, doc="weight of the deception", name="lambda")
        loss: Loss = hparam(
            "bce", doc="of the discriminators' logits: binary cross-entropy, or ls: squared distance from the labels"
        )
        d: Opponent = group(Opponent, doc="the discriminators")

    presets = {"multi-level": {"levels": 2}, "least-squares": {"loss": "ls", "lambda": 0.01}}

    def __init__(self, given: Given, hparams: Any) -> None:
        super().__init__(given, hparams)
        self.discriminators = nn.ModuleList(
            given.made(purpose, lambda: OutputDiscriminator(given.num_classes))
            for purpose in ("discriminator", "auxiliary discriminator")[: hparams.levels]
        )
        self.d_optimizer = torch.optim.Adam(
            self.discriminators.parameters(), hparams.d.lr, betas=(0.9, 0.99), fused=True
        )

    @classmethod
    def check(cls, problem: Problem, hparams: Any) -> None:
        super().check(problem, hparams)
        if min(problem.network.shape) < SMALLEST_MAP:
            height, width = problem.network.shape
            raise ConfigError(
                f"AdaptSegNet's discriminator halves maps five times, and images are {height}x{width}. Type --image-size H W with "
                f"{SMALLEST_MAP} or more each."
            )

    def update(self, number: int, images: Tensor | None, labelled: Batch | None) -> Metrics:
        assert images is not None and labelled is not None
        source, target = self.scores(labelled[0]), self.scores(images)
        supervised = self.supervised(source, labelled[1])
        with fixed(self.discriminators):
            main, *second = (self._told(judge(maps.softmax(1)), SOURCE) for judge, maps in self._judged(target))
        deception = main + self.hparams.aux.target * second[0] if second else main
        self.descend(number, supervised + self.hparams.lambda_ * deception)
        apart = self._learn(number, source, target)
        return {
            "loss": supervised.detach() + self.hparams.lambda_ * deception.detach(),
            "source": supervised.detach(),
            "deception": deception.detach(),
            "d_loss": apart,
        }

    def _told(self, logits: Tensor, label: float) -> Tensor:
        return told(logits, label, self.hparams.loss)

    def _judged(self, scores: Sequence[Tensor]) -> Iterator[tuple[nn.Module, Tensor]]:
        """Each level's discriminator and scores."""
        return zip(self.discriminators, scores, strict=True)

    def _learn(self, number: int, source: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
        """A step of the discriminators; their loss, the mean over levels."""
        self.decay(self.d_optimizer, number, self.hparams.power)
        losses = [
            self._told(judge(maps.detach().softmax(1)), label) / 2
            for scores, label in ((source, SOURCE), (target, TARGET))
            for judge, maps in self._judged(scores)
        ]
        loss = torch.stack(losses).sum()
        self.d_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.d_optimizer.step()
        return loss.detach() / len(self.discriminators)


def told(logits: Tensor, label: float, loss: Loss) -> Tensor:
    """Mean binary cross-entropy of ``logits`` with one label, or their mean squared distance from it (Mao et al. 2017)."""
    wanted = torch.full_like(logits, label)
    if loss == "ls":
        return functional.mse_loss(logits, wanted)
    return functional.binary_cross_entropy_with_logits(logits, wanted)
