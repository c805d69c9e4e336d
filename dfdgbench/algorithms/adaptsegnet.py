"""AdaptSegNet: predictions on the target that a discriminator takes for those on the source."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.algorithms.adaptation import Adapting, Rival, fixed
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


class Opponent(Hparams):
    """Hyper-parameters of the discriminator."""

    lr: float = hparam(1e-4, gt=0, doc="learning rate of Adam at the first step; polynomial decay")


@register(
    "AdaptSegNet",
    setting=UNSUPERVISED_ADAPTATION,
    paper=Paper("Tsai et al. 2018, Learning to adapt structured output space", arxiv="1802.10349"),
)
class AdaptSegNet(Rival):
    """Cross-entropy on the source, and maps of probabilities on the target that pass for the source's; one level.

    A discriminator learns to tell the two domains' maps apart, one step after each of the model's.
    """

    class Hparams(Adapting):
        lambda_: float = hparam(0.001, ge=0, doc="weight of the deception", name="lambda")
        d: Opponent = group(Opponent, doc="the discriminator")

    def __init__(self, given: Given, hparams: Any) -> None:
        super().__init__(given, hparams)
        self.discriminator = given.made("discriminator", lambda: OutputDiscriminator(given.num_classes))
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), hparams.d.lr, betas=(0.9, 0.99))

    @classmethod
    def check(cls, problem: Problem, hparams: Any) -> None:
        if min(problem.network.shape) < SMALLEST_MAP:
            height, width = problem.network.shape
            raise ConfigError(
                f"AdaptSegNet's discriminator halves maps five times, and images are {height}x{width}. Type --image-size H W with "
                f"{SMALLEST_MAP} or more each."
            )

    def update(self, number: int, images: Tensor | None, labelled: Batch | None) -> Metrics:
        assert images is not None and labelled is not None
        source = self.model(labelled[0])
        supervised = self.given.task.loss(source, labelled[1])
        target = self.model(images)
        with fixed(self.discriminator):
            deception = told(self.discriminator(target.softmax(1)), SOURCE)
        self.descend(number, supervised + self.hparams.lambda_ * deception)
        apart = self._learn(number, source.detach().softmax(1), target.detach().softmax(1))
        return {
            "loss": supervised.detach() + self.hparams.lambda_ * deception.detach(),
            "source": supervised.detach(),
            "deception": deception.detach(),
            "d_loss": apart,
        }

    def _learn(self, number: int, source: Tensor, target: Tensor) -> Tensor:
        self.decay(self.d_optimizer, number, self.hparams.power)
        loss = (told(self.discriminator(source), SOURCE) + told(self.discriminator(target), TARGET)) / 2
        self.d_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.d_optimizer.step()
        return loss.detach()


def told(logits: Tensor, label: float) -> Tensor:
    """Mean binary cross-entropy of ``logits`` with one label."""
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
