"""``domainbed:NAME``: any algorithm of a DomainBed that a person has, under our splits, networks, records and sweeps.

DomainBed is looked for as an installed package and in the checkout that ``$DFDGBENCH_DOMAINBED`` names. Its class is used
as it is; what it asks DomainBed's networks for is built here instead, so that ``--network`` and ``--weights`` hold and images
in [0, 1] are normalised. The other way round, step-wise classes of this package satisfy DomainBed's interface.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import io
import keyword
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import create_model
from torch import Tensor, nn

from dfdgbench.algorithms.base import ALGORITHMS, Algorithm, Paper
from dfdgbench.algorithms.stepwise import Minibatch, Predict, Stepwise
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import Metrics, PredictorStage
from dfdgbench.errors import ConfigError, unknown
from dfdgbench.hparams import DOMAINBED_ELSEWHERE, DatasetFacts, Hparams, hparam
from dfdgbench.networks.base import Network, NetworkSpec, build
from dfdgbench.networks.needs import dropout_hparam
from dfdgbench.networks.norm import apply_bn_policy
from dfdgbench.seeds import seed_everything, seed_hash, untouched_randomness
from dfdgbench.settings import DOMAIN_GENERALISATION

VARIABLE = "DFDGBENCH_DOMAINBED"
_SMALL = "Debug28"
"""A dataset of DomainBed's own with small images, for the hyper-parameters of ours that it does not know."""


class Featurizer(nn.Module):
    """Our network where DomainBed's algorithm wants one of its own: images [B, C, H, W] to features [B, n_outputs]."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.network.classifier = nn.Identity()
        self.n_outputs = network.n_features
        self.activation = nn.Identity()  # one of its algorithms replaces this

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.activation(self.network.features(images))
        return features


class Theirs(Hparams):
    """Hyper-parameters that DomainBed's own registry declares and draws."""

    algorithm: ClassVar[str]

    @classmethod
    def defaults(cls, dataset: DatasetFacts) -> dict[str, Any]:
        return cls._known(_registry().default_hparams(cls.algorithm, _dataset(dataset)))

    @classmethod
    def searched(cls, dataset: DatasetFacts) -> int:
        first, second = (cls.draws(dataset, seed, 0) for seed in (1, 2))
        return sum(first[name] != second[name] for name in first)

    @classmethod
    def draws(cls, dataset: DatasetFacts, hparams_seed: int, trial_seed: int) -> dict[str, Any]:
        if hparams_seed == 0:
            return cls.defaults(dataset)
        seed = seed_hash(hparams_seed, trial_seed)
        return cls._known(_registry().random_hparams(cls.algorithm, _dataset(dataset), seed))

    @classmethod
    def _known(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
        return {name: plain[name] for name in cls.names() if name in plain}


class Adapted(Algorithm):
    """What stands before a class of DomainBed's, which an instance also is: construction and evaluation are ours."""

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        num_domains: int,
        hparams: Hparams,
        *,
        network: NetworkSpec,
        seed: int,
        place: Any,
    ) -> None:
        given = dict.fromkeys(DOMAINBED_ELSEWHERE, False) | hparams.flat()
        self._networks = partial(_our_networks, network, seed, bool(given.get("freeze_bn")))
        with untouched_randomness(), self._networks():
            seed_everything(seed)
            try:
                super().__init__(input_shape, num_classes, num_domains, given)  # type: ignore[call-arg]
            except Exception as error:
                raise ConfigError(
                    f"DomainBed's {type(self).__name__} cannot be built on the network '{network.name}': "
                    f"{type(error).__name__}: {error}. Choose another --network, or an algorithm of our own (`dfdgbench list "
                    "algorithms`)."
                ) from error
        place(self)

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        """DomainBed's own step; some of its methods build a network in each."""
        with self._networks():
            metrics: Metrics = super().update(minibatches, unlabeled)  # type: ignore[misc]
        return metrics

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Buffers that have grown since construction take the size that was saved; what a step made is made again."""
        for name, buffer in self.named_buffers(recurse=False):  # type: ignore[attr-defined]
            if prefix + name in state:
                buffer.resize_(state[prefix + name].shape)
        own = {name.partition(".")[0] for name in self.state_dict()}  # type: ignore[attr-defined]
        for name in [name for name in state if name.startswith(prefix)]:
            if name.removeprefix(prefix).partition(".")[0] not in own:
                del state[name]
        super()._load_from_state_dict(state, prefix, *args, **kwargs)  # type: ignore[misc]

    def predictors(self) -> dict[str, nn.Module]:
        """Its ``predict`` as a module."""
        return {"default": Predict(self)}  # type: ignore[arg-type]

    @classmethod
    def network_spec(cls, network: NetworkSpec, hparams: Any) -> NetworkSpec:
        """The run's network with the dropout that DomainBed's hyper-parameters name."""
        name = dropout_hparam(network)
        return replace(network, dropout=hparams.flat().get(name, 0.0) if name else 0.0)

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        return Stepwise.plan.__func__(cls, problem, hparams)  # type: ignore[attr-defined, no-any-return]


@ALGORITHMS.scheme(
    "domainbed", f"domainbed:NAME for an algorithm of an installed DomainBed, or of ${VARIABLE}'s checkout"
)
def adapted(name: str) -> type[Algorithm]:
    """DomainBed's algorithm ``name`` as one of ours."""
    return _adapted(name, os.environ.get(VARIABLE, ""))


@lru_cache(maxsize=64)
def _adapted(name: str, checkout: str) -> type[Algorithm]:
    algorithms = _module("algorithms")
    if name not in algorithms.ALGORITHMS:
        raise unknown("algorithm of DomainBed", name, algorithms.ALGORITHMS)
    theirs = algorithms.get_algorithm_class(name)
    made: type[Algorithm] = type(name, (Adapted, theirs), {"__doc__": _summary(name, theirs), "__module__": __name__})
    made.__qualname__ = f"{name}@{_version(algorithms)}"  # a part of every key: other code, other artifacts
    made.name, made.setting, made.paper = f"domainbed:{name}", DOMAIN_GENERALISATION, Paper("DomainBed's own code")
    made.Hparams = _hparams(name)
    return made


def _summary(name: str, theirs: type) -> str:
    said = (inspect.getdoc(theirs) or "").strip().split("\n")[0]
    return f"DomainBed's {name}: {said}" if said else f"DomainBed's {name}."


def _version(module: Any) -> str:
    return hashlib.sha256(inspect.getsource(module).encode()).hexdigest()[:12]


def _hparams(name: str) -> type[Hparams]:
    """A model of the names and types of DomainBed's hyper-parameters, those of networks left out."""
    defaults: dict[str, Any] = {}
    for dataset in (_SMALL, "PACS"):
        defaults |= _registry().default_hparams(name, dataset)
    fields: dict[str, Any] = {
        attribute: (Any, hparam(default, doc="DomainBed's", name=alias))
        for alias, default in defaults.items()
        if alias not in DOMAINBED_ELSEWHERE
        for attribute in [f"{alias}_" if keyword.iskeyword(alias) else alias]
    }
    made: type[Theirs] = create_model(f"{name}Hparams", __base__=Theirs, **fields)
    made.algorithm = name
    return made


def _dataset(facts: DatasetFacts) -> str:
    return _SMALL if facts.small else facts.name


def _registry() -> Any:
    return _module("hparams_registry")


def _module(name: str) -> Any:
    """A module of DomainBed's package."""
    checkout = os.environ.get(VARIABLE)
    if checkout and not (Path(checkout) / "domainbed" / "algorithms.py").is_file():
        raise ConfigError(
            f"${VARIABLE} is {checkout}, which holds no domainbed/algorithms.py. Name a checkout of DomainBed."
        )
    with _searched(checkout):
        try:
            return importlib.import_module(f"domainbed.{name}")
        except ImportError as error:
            if error.name == "domainbed":
                raise ConfigError(
                    f"domainbed:NAME needs DomainBed, which is not installed. Clone it and type export {VARIABLE}=FOLDER."
                ) from error
            raise ConfigError(
                f"DomainBed is there but cannot be imported: {error}. Install what its requirements.txt names."
            ) from error


@contextlib.contextmanager
def _searched(folder: str | None) -> Iterator[None]:
    """Within the body, modules are looked for in ``folder`` first."""
    if not folder:
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


@contextlib.contextmanager
def _our_networks(spec: NetworkSpec, seed: int, freeze_bn: bool) -> Iterator[None]:
    """Within the body, DomainBed's featurizers are our networks; the first has the weights that ours would have."""
    networks = _module("networks")
    before, count = (networks.Featurizer, networks.ResNet), 0

    def featurizer(input_shape: Sequence[int], hparams: Mapping[str, Any]) -> Featurizer:
        nonlocal count
        wanted = replace(spec, channels=int(input_shape[0]))  # one of its methods adds a channel to the images
        network = build(wanted, seed if count == 0 else seed_hash(seed, "featurizer", count))
        apply_bn_policy(network, "frozen" if freeze_bn else "live")
        count += 1
        return Featurizer(network)

    networks.Featurizer, networks.ResNet = featurizer, Featurizer  # one of its methods looks at the type
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        networks.Featurizer, networks.ResNet = before
