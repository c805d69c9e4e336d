"""What an adaptation cannot be done with, told before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from dfdgbench.engine.problem import Problem
from dfdgbench.errors import ConfigError, DataError, MissingDataError, UnknownNameError
from dfdgbench.networks.base import NetworkSpec, architecture, build
from dfdgbench.networks.maps import convolutions
from dfdgbench.stages.classifier import Classifying
from dfdgbench.stages.homogenize import Homogenising

_NEEDED = {"nn": 1, "random-nn": 1, "nn-all": 2}


def check_method(hparams: Homogenising) -> None:
    """``ConfigError`` where maps, labels and weights do not go together."""
    if hparams.class_conditional and not hparams.supervised:
        raise ConfigError(
            "class_conditional=true needs the target's labels, and supervised=false says that there are none. Type --hparam "
            "class_conditional=false, or --hparam supervised=true."
        )
    if hparams.maps == "criterion":
        if not hparams.supervised:
            raise ConfigError(
                "maps=criterion is the cross-entropy alone, which needs the target's labels, and supervised=false says that "
                "there are none. Type --hparam maps=nn, nn-all, random-nn or rp, or --hparam supervised=true."
            )
        if hparams.class_conditional:
            raise ConfigError(
                "maps=criterion has no statistics, so none by class. Type --hparam class_conditional=false, or --hparam maps=nn."
            )
        if not hparams.criterion_weight:
            raise ConfigError(
                "maps=criterion with criterion_weight=0 leaves nothing to minimise. Type --hparam criterion_weight=1."
            )
    elif not hparams.statistics_weight and not (hparams.supervised and hparams.criterion_weight):
        other = "criterion_weight=0" if hparams.supervised else "supervised=false"
        raise ConfigError(
            f"statistics_weight=0 with {other} leaves nothing to minimise. Type --hparam statistics_weight=1, or leave out one of "
            "the two."
        )
    if hparams.target_images < hparams.batch_size:
        raise ConfigError(
            f"The target set of {hparams.target_images} images (target_images) is smaller than a batch of {hparams.batch_size} "
            f"(batch_size), whose statistics are matched. Type --hparam target_images={hparams.batch_size}, or --hparam "
            f"batch_size={hparams.target_images}."
        )


def check_problem(problem: Problem, hparams: Homogenising) -> None:
    """``ConfigError`` for several held-out domains, a leak that there is not, and a network without the maps asked for."""
    if len(problem.targets) != 1:
        names = [problem.domain_name(target) for target in problem.targets]
        raise ConfigError(
            f"Homogenization adapts to one held-out domain, and --test-envs gives {', '.join(names)}. Type --test-envs {names[0]}, "
            "and the others in runs of their own."
        )
    target = problem.domain_name(problem.targets[0])
    classifier: Classifying = hparams.classifier  # type: ignore[attr-defined]
    if classifier.leaky and problem.targets[0] not in problem.sources:
        raise ConfigError(
            "classifier.leaky=true trains on the target's images, which the owner of other domains does not have. Type --hparam "
            f"classifier.leaky=false, or make the domain its own target: --train-envs {target} --test-envs {target}."
        )
    needed = _NEEDED.get(hparams.maps, 0)
    found = _convolutions(replace(problem.network, weights="none")) if needed else 0
    if found < needed:
        count = f"{found} convolution{'' if found == 1 else 's'}"
        raise ConfigError(
            f"The network '{problem.network.name}' has {count}, and maps={hparams.maps} reads what {needed} or more put out. Type "
            f"--hparam maps={'nn' if found else 'rp'}, or --network mnist_resnet20, cifar_resnet34, smallcnn or resnet18."
        )


def check_verifier(name: str) -> None:
    """``ConfigError`` for a second network that there is not."""
    if name == "auto":
        return
    try:
        architecture(name)
    except UnknownNameError as error:
        raise ConfigError(
            f"verifier={name} is to be a network. {error} Type --hparam verifier=auto, or one of these names."
        ) from error


@lru_cache(maxsize=16)
def _convolutions(spec: NetworkSpec) -> int:
    return len(convolutions(build(spec, seed=0).featurizer))


def check_target(problem: Problem, hparams: Homogenising) -> None:
    """``DataError`` for a target set that is too small or, where labels are used, of one class. Data that is not here is not
    looked at."""
    target, split = problem.targets[0], problem.adaptation
    try:
        found = problem.split(target, split)
    except MissingDataError:
        return
    name = problem.domain_name(target)
    if len(found) < hparams.target_images:
        fit = len(found) // hparams.batch_size * hparams.batch_size or len(found)
        batch = f" --hparam batch_size={fit}" if fit < hparams.batch_size else ""
        raise DataError(
            f"The target set of '{name}' (split '{split}') has {len(found)} images, and target_images is {hparams.target_images} "
            f"in batches of {hparams.batch_size}. Type --hparam target_images={fit}{batch}."
        )
    if hparams.supervised and len(np.unique(found.labels[: hparams.target_images])) < 2:
        raise DataError(
            f"The target set of '{name}' (split '{split}') is of one class, so that labels say nothing. Give images of several "
            "classes, or type --hparam supervised=false."
        )
