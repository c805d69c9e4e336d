"""Squeeze: the models that sets are distilled from, one of all source domains or one of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Stage
from dfdgbench.engine.work import Work
from dfdgbench.errors import ConfigError, NoBatchNormError
from dfdgbench.hparams import Hparams, case, hparam
from dfdgbench.networks.base import resolve, weights_id
from dfdgbench.networks.needs import require_batch_norm
from dfdgbench.seeds import seed_hash
from dfdgbench.settings import Read, Released, Side
from dfdgbench.stages.train import Teacher, Teaching, Train

Approach = Literal["across", "per-domain"]
BatchNorm = Literal["paper", "frozen", "live"]


class Squeezing(Hparams):
    """Hyper-parameters of the squeeze: DomainBed's ERM (spec, section 3). They belong to the owner of the data."""

    network: str = hparam("resnet18", small=case("smallcnn"), doc="the network that is squeezed")
    weights: tuple[str, ...] = hparam(
        (),
        doc="initial weights of every squeezed network, as --weights names them; where not given its default ones (torchvision's "
        "V1), or random ones with --weights none",
    )
    bn: BatchNorm = hparam(
        "paper",
        doc="batch normalisation: frozen across domains (live where the initial weights are random) and live per domain (paper), "
        "or always frozen or live",
    )
    lr: float = hparam(5e-5, small=case(1e-3), gt=0, doc="learning rate of Adam")
    weight_decay: float = hparam(0.0, ge=0, doc="weight decay of Adam")
    batch_size: int = hparam(32, small=case(64), gt=0, doc="images a step of each domain")
    steps: int | None = hparam(None, gt=0, doc="updates; the dataset's number where not given")
    selection: Literal["validation", "last"] = hparam(
        "validation", doc="which weights: the best on the source domains' validation splits, or the last"
    )
    data_augmentation: bool = hparam(True, doc="DomainBed's augmentation, where the dataset has one")

    def teaching(self, frozen: bool) -> Teaching:
        """As a teacher's hyper-parameters, so that DEKAN's teachers of the same settings are the same artifacts."""
        shared = {name: getattr(self, name) for name in Teaching.model_fields if name in type(self).model_fields}
        return Teaching.model_validate(shared | {"freeze_bn": frozen})


class Squeeze(Train):
    """An ERM model of several source domains, for the owner of their images to distil from.

    The released weights are those of the best mean accuracy over the domains' validation splits (the first that tie).
    """

    kind = "squeeze"

    def __init__(self, erm: type[Any], problem: Problem, domains: Sequence[int], teaching: Teaching) -> None:
        steps = teaching.steps or problem.metadata.steps
        validated = teaching.selection == "validation"
        super().__init__(
            erm, problem, domains, teaching, steps=steps, side=Side.OWNER, releases=Released.MODEL, validation=validated
        )
        self._validations = [Read(domain, problem.protocol.validation) for domain in domains] if validated else []
        self.reads = (*self._feeds_from, *self._validations)

    @property
    def initial_seed(self) -> int:
        return seed_hash(self.problem.trial_seed, "initial weights")

    def _validate(self, state: State, work: Work) -> None:
        predictor = next(iter(state._algorithm.predictors().values()))
        accuracy = sum(work.accuracy(predictor, read) for read in self._validations) / len(self._validations)
        if accuracy > state.best_accuracy:
            state.best_accuracy = accuracy
            state.best = {name: value.detach().cpu().clone() for name, value in predictor.state_dict().items()}


@dataclass(frozen=True)
class Squeezed:
    """What one distilled set is made from.

    Attributes:
        problem: the run's, with the squeezed network in place of the student.
        domains: the source domains of the set.
        models: the stages that train its models; one, or one a backbone.
    """

    problem: Problem
    domains: tuple[int, ...]
    models: tuple[Stage, ...]


def squeezed_problem(problem: Problem, network: str, weights: str = "") -> Problem:
    """The same problem with ``network`` in place of the student; made once a problem.

    Args:
        weights: its initial ones, named as in ``NetworkSpec``; "" for random ones where the student's are, else the default ones.
    """
    weights = weights or ("none" if problem.network.weights == "none" else "default")
    name = resolve(network, problem.image_size)
    spec = replace(problem.network, name=name, weights=weights, dropout=0.0, nonlinear=False)
    if spec == problem.network:
        return problem
    return problem.once(
        ("squeezed", name, weights), lambda: replace(problem.of_run(0, None, None), network=spec, _made={}, _readers={})
    )


def squeezed(
    erm: type[Any], problem: Problem, hparams: Squeezing, approach: Approach, networks: Sequence[str] = ()
) -> list[Squeezed]:
    """The models of every set that ``approach`` has: one of all source domains, or one a domain.

    Args:
        networks: the backbones; the hyper-parameters' own where none are given.

    Raises:
        ConfigError: initial weights for another number of networks than there are.
    """
    names = networks or (hparams.network,)
    weights = hparams.weights or ("",) * len(names)
    if len(weights) != len(names):
        example = json.dumps(["default"] * len(names))
        raise ConfigError(
            f"squeeze.weights={list(weights)} names {len(weights)} initial weights, and {len(names)} networks are squeezed: "
            f"{', '.join(names)}. Name one for each, in this order, or none: --hparam squeeze.weights='{example}'."
        )
    problems = [squeezed_problem(problem, name, given) for name, given in zip(names, weights, strict=True)]
    if approach == "across":
        models = tuple(Squeeze(erm, each, problem.sources, _taught(hparams, each, True)) for each in problems)
        return [Squeezed(problems[0], problem.sources, models)]
    return [
        Squeezed(problems[0], (e,), tuple(Teacher(erm, each, e, _taught(hparams, each, False)) for each in problems))
        for e in problem.sources
    ]


def _taught(hparams: Squeezing, problem: Problem, across: bool) -> Teaching:
    return hparams.teaching(frozen_bn(hparams.bn, across, problem))


def frozen_bn(bn: BatchNorm, across: bool, problem: Problem) -> bool:
    """Whether batch normalisation is frozen. Random weights have no statistics that could be kept."""
    return bn == "frozen" or (bn == "paper" and across and weights_id(problem.network) != "random")


def require_statistics(sets: Sequence[Squeezed], networks: Sequence[str] = ()) -> None:
    """``NoBatchNormError`` where a squeezed network has no batch normalisation to match."""
    for each in sets:
        for model in each.models:
            try:
                require_batch_norm(model.problem.network)
            except NoBatchNormError:
                raise NoBatchNormError(
                    f"The network that is squeezed, '{model.problem.network.name}', has no batch normalisation, whose statistics "
                    "this method matches. Type --hparam squeeze.network=resnet18, efficientnet_lite0 or smallcnn (G-VBSM: "
                    "recover.networks); the student, --network, may be any."
                ) from None
