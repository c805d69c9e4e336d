"""Classifiers that the owner of the data trains and releases: one for its users, and a second one to verify their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.work import Work
from dfdgbench.files import read_json, write_json
from dfdgbench.hparams import Hparams, case, hparam
from dfdgbench.networks.base import Network, NetworkSpec
from dfdgbench.seeds import seed_hash
from dfdgbench.settings import Read, Released, Side
from dfdgbench.stages.train import Train

WHOLE = "whole"
"""The split of the protocol "post-hoc" that a leaky classifier is trained on."""


class Classifying(Hparams):
    """Hyper-parameters of a released classifier; they belong to the owner of the data."""

    lr: float = hparam(
        5e-5,
        small=case(2e-3),
        by_dataset={"MNIST": case(5e-3), "CIFAR10": case(2e-3)},
        gt=0,
        doc="learning rate of Adam",
    )
    weight_decay: float = hparam(0.0, by_dataset={"CIFAR10": case(1e-4)}, ge=0, doc="weight decay of Adam")
    batch_size: int = hparam(
        32, small=case(64), by_dataset={"MNIST": case(128), "CIFAR10": case(128)}, gt=0, doc="images a step"
    )
    steps: int = hparam(
        3000,
        small=case(600),
        by_dataset={"MNIST": case(750), "CIFAR10": case(12500)},
        gt=0,
        doc="updates, under a cosine",
    )
    sampling: Literal["domain", "pooled"] = hparam(
        "pooled", doc="a step's images from all source domains together, or as many from each"
    )
    data_augmentation: bool = hparam(
        True, small=case(False), by_dataset={"CIFAR10": case(True)}, doc="crops and flips, where the dataset has any"
    )
    augmentation: str = hparam("crop-flip", doc="which augmentation")
    seed: int = hparam(
        0, ge=0, doc="of initial weights and batches; it is no trial's, so that all trials share the models"
    )
    leaky: bool = hparam(False, doc="train on the target images too, as the published classifiers probably were")


@dataclass(frozen=True)
class Trained:
    """A released classifier, frozen and in eval mode, and its accuracy (0 to 1) on what it was trained on."""

    network: Network
    accuracy: float


class Classifier(Train):
    """Train a network on the train splits of all source domains, released by the owner of their images.

    Args:
        algorithm: the step-wise class that does it.
        network: what is trained.
    """

    kind = "classifier"
    hparams: Classifying

    def __init__(self, algorithm: Any, problem: Problem, network: NetworkSpec, hparams: Classifying) -> None:
        self._spec = network
        names = tuple(problem.domain_name(domain) for domain in problem.sources)
        super().__init__(
            algorithm,
            problem,
            problem.sources,
            hparams,
            steps=hparams.steps,
            seed=seed_hash(hparams.seed, self.kind, network.name, names),
            side=Side.OWNER,
            releases=Released.MODEL,
        )
        if hparams.leaky:
            self._feeds_from = [Read(domain, WHOLE) for domain in problem.sources]
            self.reads = tuple(self._feeds_from)

    @property
    def network(self) -> NetworkSpec:
        return self._spec

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        facts = dict(super().finish(state, work, folder))
        predictor = next(iter(state._algorithm.predictors().values()))
        sizes = [len(work.split(read)) for read in self._feeds_from]
        right = sum(size * work.accuracy(predictor, read) for size, read in zip(sizes, self._feeds_from, strict=True))
        facts["accuracy"] = right / sum(sizes)
        write_json(folder / "trained.json", {"accuracy": facts["accuracy"]})
        return facts

    def load(self, folder: Path, work: Work) -> Any:
        """A :class:`Trained`."""
        return Trained(super().load(folder, work), float(read_json(folder / "trained.json")["accuracy"]))  # type: ignore[arg-type]


class Verifier(Classifier):
    """A second classifier, by which it is told whether adapted images are better, or only better for the first."""

    kind = "verifier"
