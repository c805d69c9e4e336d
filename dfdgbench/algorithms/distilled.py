"""What the methods share that distil the source domains into a small set: hyper-parameters, presets, the last two stages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dfdgbench.algorithms.base import Algorithm, Paper
from dfdgbench.algorithms.erm import ERM
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import PredictorStage, Stage
from dfdgbench.hparams import Hparams, group, hparam
from dfdgbench.stages.coded import Coded, Storing
from dfdgbench.stages.distilled import DistilledSet, Part
from dfdgbench.stages.label_views import Mixture
from dfdgbench.stages.pool import Shard
from dfdgbench.stages.relabel import Relabelling, label_source
from dfdgbench.stages.squeeze import Approach, Squeezed, Squeezing, squeezed
from dfdgbench.stages.validate import Studying, Validate

DTL_PAPER = "Dataset Distillation for Domain Generalization (domain transfer learning, domain style mixing)"

# What makes every method a matter of minutes on two cores: small images, a small squeeze and a small student. The student's batch,
# rate and crop are the best of eight by the accuracy of Random-real on the source domains' validation splits
# (docs/measurements.md, dataset distillation).
MINI: dict[str, Any] = {
    "squeeze.steps": 400,
    "recover.steps": 200,
    "student.epochs": 80,
    "student.batch_size": 10,
    "student.lr": 3e-3,
    "relabel.epochs_per_shard": 80,
    "relabel.crop": 0.5,
    "relabel.together": 40,
}
_TINY: dict[str, Any] = {
    "ipc": 2,
    "squeeze.steps": 3,
    "squeeze.batch_size": 8,
    "recover.steps": 3,
    "recover.groups_per_shard": 1,
    "student.epochs": 2,
    "student.batch_size": 4,
    "relabel.epochs_per_shard": 1,
    "relabel.together": 2,
}


class DistilledHparams(Hparams):
    """Hyper-parameters of every method that distils a set."""

    ipc: int = hparam(10, gt=0, doc="images a class (of each domain, where distilled per domain)")
    approach: Approach = hparam("across", doc="one set of all source domains, or one of each")
    squeeze: Squeezing = group(Squeezing, searched=False, doc="the models; the owner's, and fixed in a search")
    store: Storing = group(Storing, searched=False, doc="how the images are kept; the owner's")
    relabel: Relabelling = group(Relabelling, searched=False, doc="the soft labels; the owner's")
    student: Studying = group(Studying, doc="the student")


def tiny_of(model: type[Hparams], more: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides with which a run of these hyper-parameters takes seconds."""
    names = set(model.names())
    return {name: value for name, value in {**_TINY, **more}.items() if name in names}


class Distilled(Algorithm):
    """Base: squeeze, recover, relabel, validate. Subclasses say how a set is recovered.

    Class attributes:
        more_presets, more_tiny: beside those that all methods have.
    """

    Hparams: ClassVar[type[Hparams]] = DistilledHparams
    channels = (3,)
    more_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    more_tiny: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        names = set(cls.Hparams.names())
        mini = {name: value for name, value in MINI.items() if name in names}
        live = {"squeeze.bn": "live", "student.bn": "live"}
        presets = {"mini": mini, "live-bn": live, **cls.more_presets}
        presets["mini"] = {**mini, **cls.more_presets.get("mini", {})}
        cls.presets = presets
        cls.tiny = tiny_of(cls.Hparams, cls.more_tiny)

    @classmethod
    def networks(cls, hparams: Any) -> Sequence[str]:
        """The backbones that are squeezed, where they are not ``squeeze.network`` alone."""
        return ()

    @classmethod
    @abstractmethod
    def recovered(cls, made_from: Squeezed, hparams: Any) -> Sequence[Shard]:
        """The shards of one set."""

    @classmethod
    def check(cls, problem: Problem, hparams: Any, sets: Sequence[Squeezed]) -> None:
        """What is told before anything runs."""

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        sets = squeezed(ERM, problem, hparams.squeeze, hparams.approach, cls.networks(hparams))
        cls.check(problem, hparams, sets)
        parts = [cls.part(each, cls.recovered(each, hparams), hparams) for each in sets]
        return cls.finished(problem, hparams, DistilledSet(tuple(parts)), across=hparams.approach == "across")

    @staticmethod
    def part(made_from: Squeezed, shards: Sequence[Shard], hparams: Any) -> Part:
        """One set's images as they are kept, with the models that label them."""
        if hparams.store.codec != "raw":
            shards = [Coded(shard, hparams.store) for shard in shards]
        return Part(tuple(shards), made_from.models, hparams.ipc * made_from.problem.network.num_classes)

    @staticmethod
    def finished(
        problem: Problem,
        hparams: Any,
        images: DistilledSet,
        *,
        across: bool,
        mixture: Mixture | None = None,
        transfer: Stage | None = None,
    ) -> PredictorStage:
        """The stages that all methods end with: label records, and the student."""
        student = hparams.student
        labels = label_source(problem, images, hparams.relabel, student.epochs, student.batch_size, mixture, transfer)
        return Validate(problem, images, labels, student, across=across, transfer=transfer)


SRE2L_PAPER = Paper("Yin et al. 2023, Squeeze, Recover and Relabel", arxiv="2306.13092")
GVBSM_PAPER = Paper("Shao et al. 2024, Generalized Large-Scale Data Condensation", arxiv="2311.17950")
RDED_PAPER = Paper("Sun et al. 2024, On the Diversity and Realism of Distilled Dataset", arxiv="2312.03526")
OURS_PAPER = Paper(DTL_PAPER)
