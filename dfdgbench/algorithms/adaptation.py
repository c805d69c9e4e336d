"""What adaptation for semantic segmentation shares: the released source model, the optimiser, the number of steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD

from dfdgbench import hparams
from dfdgbench.algorithms.base import Algorithm, Paper
from dfdgbench.datasets.feed.training import Batch
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import Metrics, PredictorStage
from dfdgbench.hparams import group, hparam
from dfdgbench.networks.segmentation.levels import require_two_levels
from dfdgbench.networks.segmentation.maps import ScoreMaps
from dfdgbench.stages.adapt import Adapt, Given, Method, images_of, target_reads
from dfdgbench.stages.source_model import AUXILIARY, SourceModel, SourceTraining, level_scores, supervised

SFDA_PAPER = Paper("Liu et al. 2021, Source-Free Domain Adaptation for Semantic Segmentation", arxiv="2103.16372")


class OfSource(hparams.Hparams):
    """Hyper-parameters of every method that starts from the source model."""

    source: SourceTraining = group(SourceTraining, searched=False, doc="the source model; the owner's")


class Optimising(OfSource):
    """Hyper-parameters of every method that teaches a model by it (SFDA, section 4)."""

    batch_size: int = hparam(
        8, gt=1, doc="target images a step, and as many source or generated ones where it has these"
    )
    epochs: int = hparam(120, gt=0, doc="passes over the target's images, where no --steps are given")
    lr: float = hparam(2.5e-4, gt=0, doc="learning rate of SGD at the first step; polynomial decay")
    head_lr: float = hparam(1.0, gt=0, doc="the classifier's learning rate, as a multiple of the featurizer's")
    momentum: float = hparam(0.9, gt=0, lt=1, doc="Nesterov's momentum")
    weight_decay: float = hparam(1e-4, ge=0, doc="weight decay")
    power: float = hparam(0.9, ge=0, doc="power of the learning rates' decay; 0: constant")


class Adapting(Optimising):
    """Hyper-parameters of every method that adapts it to images of the target."""

    hflip: bool = hparam(True, doc="mirror images with probability 1/2")


class Segmenting(Algorithm):
    """Base of all that is for segmentation."""

    tasks = ("segmentation",)
    channels = (3,)
    tiny: ClassVar[dict[str, Any]] = {"batch_size": 2, "source.steps": 3, "source.batch_size": 2}

    @staticmethod
    def source_model(problem: Problem, hparams: Any) -> SourceModel:
        """The released model, one for all methods."""
        training = hparams.source
        return problem.once(("source model",), lambda: SourceModel(problem, training), training)


class Adaptation(Method, Segmenting):
    """Base of methods that adapt the source model.

    Class attributes:
        source_images, target_images: what it reads.
    """

    source_images: ClassVar[bool] = False
    target_images: ClassVar[bool] = True

    def __init__(self, given: Given, hparams: Any) -> None:
        super().__init__(given, hparams)
        self.model = self.student()
        self.optimizer = self.sgd()

    def student(self) -> ScoreMaps:
        """What is adapted, before the first step."""
        return self.given.copy()

    def sgd(self) -> SGD:
        """The model's optimiser."""
        h = self.hparams
        parts = [
            {"params": list(self.model.featurizer.parameters()), "lr": h.lr},
            {"params": list(self.model.classifier.parameters()), "lr": h.lr * h.head_lr},
        ]
        return SGD(parts, h.lr, h.momentum, weight_decay=h.weight_decay, nesterov=True, fused=True)

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        cls.check(problem, hparams)
        return Adapt(
            cls,
            problem,
            cls.source_model(problem, hparams),
            hparams,
            source_images=cls.source_images,
            target_images=cls.target_images,
            steps=problem.steps or cls.usual_steps(problem, hparams),
        )

    @classmethod
    def usual_steps(cls, problem: Problem, hparams: Any) -> int:
        """Updates where a run's options give none: ``epochs`` passes over the target's images, whole batches."""
        images = images_of(problem, target_reads(problem))
        return int(hparams.epochs * max(1, images // hparams.batch_size))

    @classmethod
    def check(cls, problem: Problem, hparams: Any) -> None:
        """``ConfigError`` for hyper-parameters that do not go with the problem."""

    def descend(self, number: int, loss: Tensor, *further: tuple[Tensor, Tensor]) -> None:
        """A step of the model's optimiser.

        Args:
            further: tensors that the model made, with gradients at them of terms that ``loss`` lacks.
        """
        self.decay(self.optimizer, number, self.hparams.power)
        self.optimizer.zero_grad(set_to_none=True)
        tensors, slopes = zip((loss, None), *further, strict=True)
        torch.autograd.backward(tensors, slopes)
        self.optimizer.step()


class Auxiliary(hparams.Hparams):
    """Weights of the network's second head, where it is trained too."""

    source: float = hparam(AUXILIARY, ge=0, doc="of its cross-entropy on the source")
    target: float = hparam(0.2, ge=0, doc="of its term on the target, as a part of lambda")


class Levelled(Adapting):
    """Hyper-parameters of methods that may train two heads."""

    levels: Literal[1, 2] = hparam(1, doc="2: the network's second head is trained too, and adapted")
    aux: Auxiliary = group(Auxiliary, doc="the second head, where levels is 2")


class Rival(Adaptation):
    """Base of methods that train on labelled source images and unlabelled target images at once."""

    source_images = True


class LevelledRival(Rival):
    """Base of rivals that may train two heads."""

    @classmethod
    def check(cls, problem: Problem, hparams: Any) -> None:
        super().check(problem, hparams)
        if hparams.levels == 2:
            require_two_levels(problem.network, cls.name)

    def scores(self, images: Tensor) -> tuple[Tensor, ...]:
        """The score maps of the heads that are trained, each [B, K, H, W], the main one first."""
        return level_scores(self.model, images, self.hparams.levels)

    def supervised(self, scores: Sequence[Tensor], masks: Tensor) -> Tensor:
        """The source's cross-entropy."""
        return supervised(self.given.task, scores, masks, self.hparams.aux.source)


class WithTargetLoss(LevelledRival):
    """Base of rivals whose every step minimises the source's cross-entropy and one more term."""

    def update(self, number: int, images: Tensor | None, labelled: Batch | None) -> Metrics:
        assert images is not None and labelled is not None
        source = self.supervised(self.scores(labelled[0]), labelled[1])
        main, *second = self.scores(images)
        target = self.target_loss(main)
        if second:
            target = target + self.hparams.aux.target * self.auxiliary_loss(main, second[0])
        target = self.hparams.lambda_ * target
        self.descend(number, source + target)
        return {"loss": (source + target).detach(), "source": source.detach(), "target": target.detach()}

    @abstractmethod
    def target_loss(self, scores: Tensor) -> Tensor:
        """What is added to the source's cross-entropy, times lambda, from target scores [B, K, H, W]."""

    def auxiliary_loss(self, scores: Tensor, auxiliary: Tensor) -> Tensor:
        """The same of the second head's scores ``auxiliary``, times ``aux.target`` besides."""
        return self.target_loss(auxiliary)


@contextmanager
def fixed(module: nn.Module) -> Iterator[None]:
    """Within the body no parameter of ``module`` gets a gradient, which still passes through it."""
    wanted = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
