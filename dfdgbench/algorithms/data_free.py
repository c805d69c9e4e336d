"""What the data-free family shares: teachers as released artifacts, presets, the sets of DEKAN."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any, ClassVar

from dfdgbench.algorithms.base import Algorithm, Paper
from dfdgbench.algorithms.erm import ERM
from dfdgbench.engine.problem import Problem
from dfdgbench.hparams import Hparams, group
from dfdgbench.networks.needs import require_batch_norm
from dfdgbench.stages.distil import Distillation
from dfdgbench.stages.fuse import Fusion, fused_set
from dfdgbench.stages.invert import Inversion, inverted_set
from dfdgbench.stages.pool import PoolSet
from dfdgbench.stages.train import Teacher, Teaching

DEKAN_PAPER = Paper("Frikha et al. 2022, Towards Data-Free Domain Generalization", arxiv="2110.04545")

# The settings of the released code, its faults mended. Its test sets are the protocol "authors", its choice of
# checkpoint the selection rule "oracle-best-step".
_AUTHORS: dict[str, Any] = {
    "inversion.first_bn_var_percentile": 90.0,
    "inversion.unbiased": True,
    "fusion.form": "channel-scaled",
    "fusion.first_bn_var_percentile": 90.0,
    "fusion.unbiased": True,
    "fusion.layers": "exclude-last-stage",
    "fusion.moment_weight": 10.0,
    "distillation.optimizer": "sgd",
    "distillation.lr": 0.01,
    "distillation.weight_decay": 5e-4,
}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "paper-literal": {"inversion.form": "norm", "fusion.form": "norm", "distillation.direction": "reverse"},
    "authors": _AUTHORS,
    "authors-released": {
        **_AUTHORS,
        "teacher.hflip_domains": ("MNIST-M", "SVHN"),
        "fusion.cross_ce": "a_only",
        "fusion.epsilon": 10.0,
        "fusion.moment_weight": 1.0,
        "distillation.lr": 0.1,
        "distillation.freeze_bn_after": 20,
    },
    # Not the paper's: coarse-to-fine images of little colour.
    "image-prior": {"inversion.canvas": "pyramid", "fusion.canvas": "pyramid"},
}

_TINY: dict[str, Any] = {
    "teacher.steps": 3,
    "teacher.batch_size": 8,
    **{
        f"{stage}.{name}": value
        for stage in ("inversion", "fusion")
        for name, value in {
            "steps": 3,
            "images": 8,
            "group": 4,
            "groups_per_shard": 2,
            "required_accuracy": 0.0,
        }.items()
    },
    "noise.images": 8,
    "distillation.batch_size": 8,
    "distillation.epochs": 1.0,
}


def known_to(model: type[Hparams], values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` reduced to the hyper-parameters that ``model`` has."""
    names = set(model.names())
    return {name: value for name, value in values.items() if name in names}


class TeacherHparams(Hparams):
    """Hyper-parameters of every method that starts from one teacher a domain."""

    teacher: Teaching = group(Teaching, searched=False, doc="the teachers; the owner's, and fixed in a search")


class DataFree(Algorithm):
    """Base of the methods whose user gets one trained teacher a source domain and not one image."""

    Hparams: ClassVar[type[Hparams]] = TeacherHparams

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.presets = {name: known_to(cls.Hparams, values) for name, values in PRESETS.items()}
        cls.tiny = known_to(cls.Hparams, _TINY)

    @staticmethod
    def teachers(problem: Problem, hparams: Any) -> dict[int, Teacher]:
        """One teacher a source domain, by domain index."""
        teaching = hparams.teacher
        return problem.once(
            ("teachers",),
            lambda: {domain: Teacher(ERM, problem, domain, teaching) for domain in problem.sources},
            teaching,
        )

    @staticmethod
    def inverted(
        problem: Problem, teachers: Mapping[int, Teacher], size: Inversion, images: int | None = None
    ) -> dict[int, PoolSet]:
        """One inverted set a teacher, by domain index."""
        require_batch_norm(problem.network)
        return problem.once(
            ("inverted", *teachers.values(), images),
            lambda: {
                domain: inverted_set(teacher, problem, domain, size, images) for domain, teacher in teachers.items()
            },
            size,
        )

    @staticmethod
    def fused(
        problem: Problem, teachers: dict[int, Teacher], inverted: dict[int, PoolSet], size: Fusion
    ) -> list[PoolSet]:
        """One fused set an ordered pair of teachers."""
        shards = [shard for images in inverted.values() for shard in images.shards]
        return problem.once(
            ("fused", *teachers.values(), *shards),
            lambda: [fused_set(teachers, inverted, problem, pair, size) for pair in permutations(teachers, 2)],
            size,
        )


def dekan_images(sources: int, images: int) -> int:
    """How many images DEKAN distils from with ``sources`` teachers and ``images`` a set: I sets and I(I-1) pairs."""
    return sources * sources * images


class SynthesisHparams(TeacherHparams):
    """Hyper-parameters of methods that distil from inverted images."""

    inversion: Inversion = group(Inversion, doc="stage 1: images out of one teacher")
    distillation: Distillation = group(Distillation, doc="stage 3: the student")


class FusionHparams(SynthesisHparams):
    """Hyper-parameters of methods that fuse teachers too."""

    fusion: Fusion = group(Fusion, doc="stage 2: images out of two teachers")
