"""Stages: the steps of a method, whose loop the engine owns.

A stage says what it is (``kind``, ``version``, hparams, seed, inputs, reads), how it starts, what one iteration does
and what it leaves; progress, timing, snapshots, resume, leases and publishing are written once, around it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import nn

from dfdgbench.engine.artifacts import Address
from dfdgbench.engine.flops import TRAINED, forward_flops
from dfdgbench.engine.keys import KEY_FORMAT, digest
from dfdgbench.engine.runtime import Precision
from dfdgbench.engine.snapshots import State
from dfdgbench.hparams import Hparams
from dfdgbench.seeds import seed_hash
from dfdgbench.settings import NOTHING, Read, Released, Side

if TYPE_CHECKING:
    from dfdgbench.engine.problem import Problem
    from dfdgbench.engine.work import Work

Metrics = Mapping[str, "float | torch.Tensor"]


class Stage(ABC):
    """One resumable, cacheable step.

    Args:
        problem: dataset, network and seeds.
        hparams: the stage's own hyper-parameters; all of them enter its key.
        domains: the domains it is about, for its seed, its slug and messages.
        inputs: the stages whose artifacts it takes.
        reads: the splits it reads; it is handed these and nothing else.
        side, releases: whose it is, and the type of what it leaves (see ``dfdgbench.settings``).
        index: tells apart stages of one kind about the same domains (the shards of a set).
        seed: None for a shared stage, whose seed is a hash of what it is; the run's seed for a predictor stage.
        precision: how it is computed, where that changes bits.

    Class attributes:
        kind: the stage's name in the store and in messages.
        version: raised when what it makes changes; everything made by an older version is then made anew.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1

    def __init__(
        self,
        problem: Problem,
        hparams: Hparams | None = None,
        *,
        domains: Sequence[int] = (),
        inputs: Sequence[Stage] = (),
        reads: tuple[Read, ...] = NOTHING,
        side: Side = Side.USER,
        releases: Released | None = None,
        index: int = 0,
        seed: int | None = None,
    ) -> None:
        self.problem, self.hparams = problem, hparams
        self.domains = tuple(problem.domain_name(domain) for domain in domains)
        self.inputs = tuple(inputs)
        self.reads, self.side, self.releases, self.index = reads, side, releases, index
        self.seed = seed_hash(problem.trial_seed, self.kind, self.domains, index) if seed is None else seed
        self.precision = Precision()

    # What a stage does -----------------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """How often ``step`` is called; 0 for a stage that only combines its inputs."""
        return 0

    def cost(self) -> float:
        """Estimated floating-point operations of all steps; what ``start`` and ``finish`` do is left out.

        By default a step trains the problem's network on one image.
        """
        return self.steps * TRAINED * forward_flops(self.problem.network) if self.steps else 0.0

    @abstractmethod
    def start(self, work: Work) -> State:
        """Everything that a snapshot must hold, as it is before the first step."""

    def step(self, state: State, work: Work, number: int) -> Metrics:
        """Iteration ``number``, from 0; returns metrics to log."""
        raise NotImplementedError(f"{type(self).__name__} has {self.steps} steps and no step()")

    @abstractmethod
    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        """Write the artifact's files into ``folder``; returns facts for its manifest (JSON)."""

    @abstractmethod
    def load(self, folder: Path, work: Work) -> Any:
        """What ``finish`` wrote, as its consumers want it."""

    def ready(self) -> None:  # noqa: B027  (most take nothing else)
        """Raise where something is not here that the stage takes besides inputs, reads and weights; asked before a run begins."""

    # What a stage is -------------------------------------------------------------------------------------------------

    def facts(self) -> Mapping[str, Any]:
        """What else decides the artifact (JSON): a network and its initial weights, an option outside the hparams."""
        return {}

    @property
    def title(self) -> str:
        """In messages: ``teacher photo``, ``fused photo -> sketch #1``."""
        about = " -> ".join(self.domains) if self.domains else ""
        return " ".join(part for part in (self.kind, about, f"#{self.index}" if self.index else "") if part)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that decides the artifact's content, in JSON."""
        reads = [
            {"split": read.split, "labelled": read.labelled, "fingerprint": self.problem.fingerprint(read)}
            for read in self.reads
        ]
        return {
            "format": KEY_FORMAT,
            "stage": self.kind,
            "version": self.version,
            "side": self.side.value,
            "hparams": self.hparams.flat() if self.hparams is not None else {},
            "facts": dict(self.facts()),
            "precision": self.precision.identity(),
            "reads": reads,
            "seed": self.seed,
            "inputs": [stage.key for stage in self.inputs],
        }

    @cached_property
    def key(self) -> str:
        """The hash of :attr:`identity`."""
        return digest(self.identity)

    @cached_property
    def address(self) -> Address:
        """Where the artifact is kept. Domains are joined by ``__``: a single underscore is part of some names."""
        slug = "__".join(self.domains) or self.problem.metadata.name
        return Address(self.kind, f"{self.problem.metadata.name}-{slug}-{self.index}".replace("/", "-"), self.key)

    @cached_property
    def blind(self) -> bool:
        """Whether the stage itself reads data that is neither here nor remembered."""
        return any(self.problem.fingerprint(read).startswith("absent:") for read in self.reads)

    @cached_property
    def absent(self) -> bool:
        """Whether its key is not known, because it, or a stage before it, is blind."""
        return self.blind or any(stage.absent for stage in self.inputs)


class PredictorStage(Stage):
    """A stage that yields what is evaluated. The last stage of every plan is one."""

    @abstractmethod
    def build(self, work: Work) -> dict[str, nn.Module]:
        """The predictors as they are before training, made without data: named modules from images [B, 3, H, W] in
        [0, 1] to scores. The first is the default one, recorded under DomainBed's keys, the others under ``key@name``."""

    @abstractmethod
    def predictors(self, state: State, work: Work) -> dict[str, nn.Module]:
        """The predictors of :meth:`build` as they are now."""

    def default(self, accuracies: Mapping[str, Mapping[str, float]]) -> str:
        """Which predictor is the default one, given each one's record keys. The first, unless an oracle says otherwise."""
        return next(iter(accuracies))

    def answering(self, predictor: nn.Module, domain: int | None, split: str) -> nn.Module | None:
        """What is scored for ``predictor`` on a split of a domain: itself, unless it looks at where images come from; None
        where it has no answer, which is NaN in a record. ``domain`` is None where it is of another dataset."""
        return predictor

    def diagnostics(self, state: State, work: Work) -> Mapping[str, NDArray[Any]]:
        """Arrays that go to the run's ``diagnostics/step_N.npz`` with each record; none: no file."""
        return {}

    def measures(self, state: State, work: Work) -> Mapping[str, float]:
        """What else a record holds. It is measured as accuracies are, by the engine and apart from training: it may look at
        labels that the stage does not see, and consumes no randomness."""
        return {}

    def recorded(self, number: int) -> bool:
        """Whether a record follows step ``number``."""
        every = self.problem.record_every
        return number == self.steps - 1 or bool(every and number % every == 0)

    def epoch(self, step: int) -> float:
        """DomainBed's ``epoch`` of a record: passes over the training data so far."""
        return 0.0


def walk(*ends: Stage) -> Iterator[Stage]:
    """Every stage of the graphs that end in ``ends``, each once (by key), inputs first."""
    seen: set[str] = set()

    def visit(stages: Sequence[Stage]) -> Iterator[Stage]:
        for stage in stages:
            if stage.key not in seen:
                seen.add(stage.key)
                yield from visit(stage.inputs)
                yield stage

    yield from visit(ends)


def every_stage(last: Stage) -> list[Stage]:
    """Every stage of the graph that ends in ``last``, inputs first, no key asked for: some may stand for the same work."""
    found: dict[int, Stage] = {}

    def visit(stages: Sequence[Stage]) -> None:
        for stage in stages:
            if id(stage) not in found:
                visit(stage.inputs)
                found[id(stage)] = stage

    visit([last])
    return list(found.values())


def computed_with(stages: Iterable[Stage], precision: Precision) -> None:
    """Give every stage its precision; to be called before any key is asked for."""
    for stage in stages:
        stage.precision = precision
