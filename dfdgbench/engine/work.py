"""What the engine hands a stage: a device, its inputs' artifacts, the data it declared, generators, a log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from dfdgbench.datasets.domains import unlabelled
from dfdgbench.datasets.feed.pairs import PairFeed, pair_batches
from dfdgbench.datasets.feed.split import Split
from dfdgbench.datasets.feed.training import AUGMENTATIONS, PooledFeed, TrainingFeed
from dfdgbench.engine.evaluation import measure
from dfdgbench.engine.runtime import Runtime
from dfdgbench.engine.stage import Stage
from dfdgbench.errors import AccessError
from dfdgbench.networks.base import unfilled
from dfdgbench.seeds import Part, generator, seed_hash
from dfdgbench.settings import Read

log = logging.getLogger("dfdgbench")
M = TypeVar("M", bound=nn.Module)


class Work:
    """One stage's view of the world.

    Args:
        stage: whose it is.
        runtime: device and precision.
        folder_of: the artifact folder of an input, asked for when the input is.
    """

    def __init__(self, stage: Stage, runtime: Runtime, folder_of: Callable[[Stage], Path]) -> None:
        self.stage, self.runtime = stage, runtime
        self._folder_of = folder_of
        self._loaded: dict[str, Any] = {}

    @property
    def device(self) -> torch.device:
        return self.runtime.device

    def input(self, stage: Stage) -> Any:
        """The artifact of one of the stage's inputs, as that input's ``load`` gives it; loaded once."""
        if stage.key not in self._loaded:
            folder = self._folder_of(stage)
            with unfilled():
                self._loaded[stage.key] = stage.load(folder, self)
        return self._loaded[stage.key]

    def split(self, read: Read) -> Split:
        """The images of a declared read; an undeclared one is an ``AccessError``."""
        if read not in self.stage.reads:
            declared = ", ".join(f"{r.split} of domain {r.domain}" for r in self.stage.reads) or "nothing"
            raise AccessError(
                f"The stage '{self.stage.title}' asks for the split '{read.split}' of domain {read.domain}, which it did not "
                f"declare. It declared: {declared}. Add the read to the stage's reads."
            )
        split = self.stage.problem.split(read.domain, read.split)
        return split if read.labelled else Split(unlabelled(split.domain), split.keys)

    def feed(
        self,
        read: Read,
        batch_size: int,
        *,
        augment: bool,
        hflip: bool | None = None,
        class_balanced: bool = False,
        augmentation: str = "domainbed",
    ) -> TrainingFeed:
        """Endless training batches of a declared read, a pure function of the stage's seed and the batch's number.

        ``hflip`` is the dataset's unless given; ``augmentation`` is which, where there is one.
        """
        problem = self.stage.problem
        mirrored = problem.metadata.hflip if hflip is None else hflip
        feed = TrainingFeed(
            self.split(read),
            batch_size,
            seed_hash(self.stage.seed, problem.domain_name(read.domain)),
            problem.reader(read.domain, self.device),
            AUGMENTATIONS[augmentation](mirrored) if augment else None,
            class_balanced=class_balanced,
        )
        if feed.notice:
            self.log(feed.notice)
        return feed

    def pooled_feed(
        self, reads: Sequence[Read], batch_size: int, *, augment: bool, augmentation: str = "domainbed"
    ) -> PooledFeed:
        """Endless training batches of ``batch_size`` images from all of ``reads`` together, as :meth:`feed` otherwise."""
        problem = self.stage.problem
        feed = PooledFeed(
            [self.split(read) for read in reads],
            batch_size,
            seed_hash(self.stage.seed, "pooled"),
            [problem.reader(read.domain, self.device) for read in reads],
            AUGMENTATIONS[augmentation](problem.metadata.hflip) if augment else None,
        )
        if feed.notice:
            self.log(feed.notice)
        return feed

    def pair_feed(self, reads: Sequence[Read], batch_size: int, purpose: str, *, hflip: bool = True) -> PairFeed:
        """Endless training batches of images and masks from all of ``reads`` together, a pure function of the stage's seed,
        ``purpose`` and the batch's number."""
        problem = self.stage.problem
        return PairFeed(
            [self.split(read) for read in reads],
            batch_size,
            seed_hash(self.stage.seed, purpose),
            [problem.pair_reader(read.domain, self.device) for read in reads],
            hflip and problem.metadata.hflip,
        )

    def every_image(self, reads: Sequence[Read], batch_size: int) -> Iterator[torch.Tensor]:
        """Every image of ``reads`` once, in order, in batches on the device: of domains with masks, without these."""
        for read in reads:
            reader = self.stage.problem.pair_reader(read.domain, self.device)
            for images, _ in pair_batches(self.split(read), reader, batch_size):
                yield self.runtime.images(images)

    def accuracy(self, predictor: nn.Module, read: Read) -> float:
        """The primary metric, from 0 to 1, on a declared read (a teacher's own validation split, say)."""
        problem = self.stage.problem
        reader = problem.any_reader(read.domain, self.device)
        found = measure(predictor, self.split(read), problem.task, self.runtime, reader)
        return found[problem.task.suffixes[0]]

    def generator(self, *purpose: Part) -> torch.Generator:
        """A CPU generator of the stage's own for one purpose."""
        return generator(self.stage.seed, *purpose)

    def place(self, network: M) -> M:
        """``network`` on the device, in the memory format and compiled as asked for."""
        return self.runtime.place(network)

    def log(self, message: str) -> None:
        """A line for the person who watches."""
        log.info("%s: %s", self.stage.title, message)
