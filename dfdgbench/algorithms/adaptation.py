"""What adaptation for semantic segmentation shares: the released source model, the optimiser, the number of steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import SGD

from dfdgbench import hparams
from dfdgbench.algorithms.base import Algorithm, Paper
from dfdgbench.datasets.feed.training import Batch
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import Metrics, PredictorStage
from dfdgbench.hparams import group, hparam
from dfdgbench.networks.segmentation.maps import ScoreMaps
from dfdgbench.stages.adapt import Adapt, Given, Method, images_of, target_reads
from dfdgbench.stages.source_model import SourceModel, SourceTraining

SFDA_PAPER = Paper("Liu et al. 2021, Source-Free Domain Adaptation for Semantic Segmentation", arxiv="2103.16372")


class OfSource(hparams.Hparams):
    """Hyper-parameters of every method that starts from the source model."""

    source: SourceTraining = group(SourceTraining, searched=False, doc="the source model; the owner's")


class Adapting(OfSource):
    """Hyper-parameters of every method that adapts it (SFDA, section 4)."""

    batch_size: int = hparam(8, gt=1, doc="target images a step, and as many source images where these are read")
    epochs: int = hparam(120, gt=0, doc="passes over the target's images, where no --steps are given")
    lr: float = hparam(2.5e-4, gt=0, doc="learning rate of SGD at the first step; polynomial decay")
    head_lr: float = hparam(1.0, gt=0, doc="the classifier's learning rate, as a multiple of the featurizer's")
    momentum: float = hparam(0.9, gt=0, lt=1, doc="Nesterov's momentum")
    weight_decay: float = hparam(1e-4, ge=0, doc="weight decay")
    power: float = hparam(0.9, ge=0, doc="power of the learning rates' decay; 0: constant")
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
        return SGD(parts, h.lr, h.momentum, weight_decay=h.weight_decay, nesterov=True)

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

    def descend(self, number: int, loss: Tensor) -> None:
        """A step of the model's optimiser."""
        self.decay(self.optimizer, number, self.hparams.power)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


class Rival(Adaptation):
    """Base of methods that train on labelled source images and unlabelled target images at once."""

    source_images = True


class WithTargetLoss(Rival):
    """Base of rivals whose every step minimises the source's cross-entropy and one more term."""

    def update(self, number: int, images: Tensor | None, labelled: Batch | None) -> Metrics:
        assert images is not None and labelled is not None
        supervised = self.given.task.loss(self.model(labelled[0]), labelled[1])
        target = self.target_loss(self.model(images))
        self.descend(number, supervised + target)
        return {"loss": (supervised + target).detach(), "source": supervised.detach(), "target": target.detach()}

    @abstractmethod
    def target_loss(self, scores: Tensor) -> Tensor:
        """What is added to the source's cross-entropy, weighted, from target scores [B, K, H, W]."""


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
