"""Adapt a released model to images without masks, by whatever method; and the released model as a predictor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from dfdgbench.datasets.feed.training import Batch
from dfdgbench.engine.flops import TRAINED, forward_flops
from dfdgbench.engine.predictions import save_predictors
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, PredictorStage
from dfdgbench.engine.work import Work
from dfdgbench.errors import DataError
from dfdgbench.losses.schedules import polynomial
from dfdgbench.networks.segmentation.maps import ScoreMaps
from dfdgbench.seeds import seed_hash
from dfdgbench.settings import Read
from dfdgbench.stages.combine import Combined
from dfdgbench.stages.source_model import SourceModel, initial, network_facts
from dfdgbench.stages.train import Moving
from dfdgbench.tasks.base import Task


@dataclass(frozen=True, eq=False)
class Given:
    """What a method of adaptation starts from.

    Attributes:
        source: the released model, frozen and in eval mode.
        copy: a new, trainable copy of it.
        fresh: a new network that has learnt nothing of the source; with ImageNet's weights (True) or random ones.
        targets: every image that is adapted to, once, in batches on the device.
        shape: height and width of images.
        counts: how many labelled source images (of those it reads) and how many target images there are.
        steps: updates.
        place: puts a module on the device.
        device: where tensors are.
    """

    source: ScoreMaps
    copy: Callable[[], ScoreMaps]
    fresh: Callable[[bool], ScoreMaps]
    targets: Callable[[], Iterator[Tensor]]
    task: Task
    num_classes: int
    shape: tuple[int, int]
    counts: tuple[int, int]
    steps: int
    seed: int
    place: Callable[[Any], Any]
    device: torch.device

    def made(self, purpose: str, make: Callable[[], nn.Module]) -> Any:
        """A module of random weights, decided by the run's seed and ``purpose``, on the device."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_hash(self.seed, purpose))
            return self.place(make())


class Method(nn.Module):
    """What an adaptation does with each batch. Modules, optimisers, generators, tensors and numbers that are its attributes are
    snapshots' business; ``given`` is not.

    Attributes:
        model: what is adapted, and evaluated.
    """

    model: ScoreMaps

    def __init__(self, given: Given, hparams: Any) -> None:
        super().__init__()
        self.given, self.hparams = given, hparams

    @abstractmethod
    def update(self, number: int, images: Tensor | None, labelled: Batch | None) -> Metrics:
        """Step ``number`` on images [B, 3, H, W] of the target and labelled ones of the source, where the method reads these."""

    def source_positions(self, number: int) -> Tensor | None:
        """Which of the labelled source images step ``number``'s are drawn from, positions int64 [N] among all of them; None:
        from all. A pure function of ``number``: batches are made ahead."""
        return None

    def diagnostics(self) -> Mapping[str, NDArray[Any]]:
        """Arrays that are kept beside every record; takes no randomness."""
        return {}

    def decay(self, optimizer: Optimizer, number: int, power: float) -> None:
        """Set the learning rates of step ``number``: polynomial decay from those that the optimiser was made with."""
        for group in optimizer.param_groups:
            base = group.setdefault("initial_lr", group["lr"])
            group["lr"] = polynomial(number, self.given.steps, base, power)


class Adapt(PredictorStage):
    """Loop a method's ``update``.

    Args:
        method: a class derived from :class:`Method`.
        source_images: whether it reads labelled source images.
        target_images: whether it reads unlabelled target images.
        steps: updates.
    """

    kind = "adapt"
    version = 2

    def __init__(
        self,
        method: type[Method],
        problem: Problem,
        source: SourceModel,
        hparams: Any,
        *,
        source_images: bool,
        target_images: bool = True,
        steps: int,
    ) -> None:
        self.method, self.source, self._steps = method, source, steps
        self.targets = target_reads(problem) if target_images else ()
        self.target_count = images_of(problem, target_reads(problem))
        self.labelled = (
            tuple(Read(domain, problem.protocol.train) for domain in problem.sources) if source_images else ()
        )
        self.counts = images_of(problem, self.labelled), self.target_count
        super().__init__(
            problem,
            hparams,
            domains=problem.targets,
            inputs=[source],
            reads=(*self.labelled, *self.targets),
            seed=problem.seed,
        )

    @property
    def steps(self) -> int:
        return self._steps

    @property
    def batch_size(self) -> int:
        size: int = self.hparams.batch_size  # type: ignore[union-attr]
        return size

    def cost(self) -> float:
        batches = bool(self.labelled) + bool(self.targets) or 1
        return self.steps * batches * self.batch_size * TRAINED * forward_flops(self.problem.network)

    def facts(self) -> Mapping[str, Any]:
        return {
            "method": f"{self.method.__module__}:{self.method.__qualname__}",
            **network_facts(self.problem.network),
            "steps": self.steps,
        }

    def build(self, work: Work) -> dict[str, nn.Module]:
        return {"default": self.source.initial(work)}

    def start(self, work: Work) -> State:
        method = self.method(self._given(work), self.hparams)
        hflip = getattr(self.hparams, "hflip", True)
        target, source = (
            work.pair_feed(reads, self.batch_size, purpose, hflip=hflip) if reads else None
            for reads, purpose in ((self.targets, "target"), (self.labelled, "source"))
        )
        feeds = [target, source and source.narrowed(method.source_positions)]
        return State(moving=Moving(method), _method=method, _feeds=feeds, _streams=None)

    def _given(self, work: Work) -> Given:
        source: ScoreMaps = work.input(self.source)
        spec = self.problem.network

        def copy() -> ScoreMaps:
            made: ScoreMaps = self.source.initial(work)
            made.load_state_dict(source.state_dict())
            made.train()
            return made

        def fresh(pretrained: bool) -> ScoreMaps:
            chosen = spec if pretrained else replace(spec, weights="none")
            made = initial(chosen, seed_hash(self.seed, "student"), work)
            made.train()
            return made

        return Given(
            source=source,
            copy=copy,
            fresh=fresh,
            targets=lambda: work.every_image(self.targets, self.batch_size),
            task=self.problem.task,
            num_classes=spec.num_classes,
            shape=spec.shape,
            counts=self.counts,
            steps=self.steps,
            seed=self.seed,
            place=work.place,
            device=work.device,
        )

    def step(self, state: State, work: Work, number: int) -> Metrics:
        if state._streams is None:
            state._streams = [feed and feed.prefetch(number) for feed in state._feeds]
        images, labelled = (stream and next(stream) for stream in state._streams)
        metrics: Metrics = state._method.update(
            number,
            None if images is None else work.runtime.images(images[0]),
            None if labelled is None else (work.runtime.images(labelled[0]), labelled[1].to(work.device)),
        )
        return metrics

    def predictors(self, state: State, work: Work) -> dict[str, nn.Module]:
        return {"default": state._method.model}

    def diagnostics(self, state: State, work: Work) -> Mapping[str, NDArray[Any]]:
        found: Mapping[str, NDArray[Any]] = state._method.diagnostics()
        return found

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        save_predictors(folder / "model.safetensors", self.predictors(state, work))
        return {}

    def load(self, folder: Path, work: Work) -> Any:
        raise NotImplementedError("adaptation is the end of a plan")

    def epoch(self, step: int) -> float:
        return step * self.batch_size / self.target_count


class Unadapted(Combined):
    """The released model as it is."""

    kind = "unadapted"

    def __init__(self, problem: Problem, source: SourceModel) -> None:
        super().__init__(problem, domains=problem.targets, inputs=[source], seed=problem.seed)
        self.source = source

    def build(self, work: Work) -> dict[str, nn.Module]:
        return {"default": work.input(self.source)}


def target_reads(problem: Problem) -> tuple[Read, ...]:
    """What an adaptation reads of its targets."""
    return tuple(Read(domain, problem.adaptation, labelled=False) for domain in problem.targets)


def images_of(problem: Problem, reads: Sequence[Read]) -> int:
    """How many images ``reads`` have; by the published counts of their domains where they are not here."""
    return problem.once(("images of", *reads), lambda: sum(_images(problem, read) for read in reads))


def _images(problem: Problem, read: Read) -> int:
    try:
        return len(problem.split(read.domain, read.split))
    except DataError:
        counts = problem.metadata.counts
        return counts[read.domain] if counts else 1
