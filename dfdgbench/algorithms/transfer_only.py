"""Transfer only: SFDA's first stage, a new model taught by the released one through generated images alone."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from dfdgbench.algorithms.adaptation import SFDA_PAPER
from dfdgbench.algorithms.base import register
from dfdgbench.algorithms.generated import Generated, GeneratedHparams
from dfdgbench.datasets.feed.training import Batch
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import hparam
from dfdgbench.networks.segmentation.maps import ScoreMaps
from dfdgbench.settings import SOURCE_FREE


@register("TransferOnly", setting=SOURCE_FREE, paper=SFDA_PAPER)
class TransferOnly(Generated):
    """A new model learns from the source model on generated images; no image of either domain is read.

    Of Table 4, ``beta=0`` is BNS, ``bns.weight=0`` DAD. Generated images are all that the new model's running statistics see,
    and its step is Eq. 12 alone: what SFDA has hyper-parameters of for the target's images, this has not.
    """

    target_images = False

    class Hparams(GeneratedHparams):
        student_init: Literal["imagenet", "random"] = hparam(
            "imagenet", doc="the new model's weights: the network's pretrained ones where there are any, or random ones"
        )

    def student(self) -> ScoreMaps:
        return self.given.fresh(self.hparams.student_init == "imagenet")

    def update(self, number: int, images: Tensor | None, labelled: Batch | None) -> Metrics:
        fakes, found = self.generate(number)
        for _ in range(self.hparams.loop.model_steps_per_g):
            shown = fakes if self.hparams.loop.reuse_fakes else self.fakes()
            loss, terms = self.agree(shown, update=True)
            self.descend(number, loss)
            found |= {"loss": loss.detach(), **terms}
        return found
