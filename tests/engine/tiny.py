"""Problems of milliseconds, and a stage that draws from every generator there is."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dfdgbench.datasets.base import Dataset, Metadata
from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.engine.artifacts import Store
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.execute import Engine
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.progress import Progress
from dfdgbench.engine.runtime import Runtime
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, Stage, walk
from dfdgbench.engine.work import Work
from dfdgbench.errors import MissingDataError
from dfdgbench.files import read_json, write_json
from dfdgbench.planning import Plan
from dfdgbench.posing import make_problem, open_dataset
from dfdgbench.settings import Read

CPU = Runtime(torch.device("cpu"))
DOMAINS = ("north", "east", "south", "west")
# What makes every data-free method a matter of a second.
TINY = {
    "teacher": {"steps": 3, "batch_size": 8},
    "inversion": {"steps": 3, "images": 8, "group": 4, "required_accuracy": 0.0},
    "fusion": {"steps": 3, "images": 8, "group": 4, "required_accuracy": 0.0},
    "distillation": {"batch_size": 8, "epochs": 1.0},
}


def tiny(*groups: str, **changes: Any) -> dict[str, Any]:
    """The overrides of these groups with some ``changes`` (``inversion__images=16``)."""
    values: dict[str, Any] = {f"{group}.{name}": value for group in groups for name, value in TINY[group].items()}
    return values | {name.replace("__", "."): value for name, value in changes.items()}


class Compass(Dataset):
    """Four domains of ten noisy 8x8 images in two classes.

    Attributes:
        away: whether the images are not there.
    """

    metadata = Metadata(
        name="Compass", description="noise", domains=DOMAINS, labels=("N", "E", "S", "W"), classes=("a", "b"), image_size=28,
        augment=False, small=True, network="smallcnn", steps=4, checkpoint_freq=2, needs_data_dir=False,
    )  # fmt: skip

    def __init__(self, data_dir: str | Path | None = None, *, changed: int | None = None, away: bool = False) -> None:
        super().__init__(data_dir)
        self.changed, self.away = changed, away

    def open(self, index: int) -> ArrayDomain:
        if self.away:
            raise MissingDataError(f"The images of {DOMAINS[index]} are not here.")
        images = np.random.RandomState(index).randint(0, 256, (10, 28, 28, 3)).astype(np.uint8)
        if index == self.changed:
            images[0, 0, 0, 0] ^= 1
        return ArrayDomain(DOMAINS[index], images, np.arange(10) % 2)


def problem(artifacts: Path, dataset: Dataset | None = None, **options: Any) -> Problem:
    """A problem on Debug28, or on ``dataset``; ``options`` are a run's."""
    made = dataset or open_dataset("Debug28", None)
    config = RunConfig.make(dataset=made.metadata.name, **{"network": "smallcnn", **options})
    return make_problem(config, Execution(device="cpu", artifacts=artifacts), made)


def of_kind(made: Plan, kind: str) -> list[Any]:
    """The stages of a plan that are of this kind, in order of execution."""
    return [stage for stage in walk(made.last) if stage.kind == kind]


def engine(artifacts: Path, every: float = 0.0) -> Engine:
    """One that takes a snapshot after every step."""
    return Engine(Store(artifacts), CPU, every)


class Drift(Stage):
    """A small regression whose every step draws from its own generator and from all global ones."""

    kind = "drift"

    def __init__(
        self,
        problem: Problem,
        *,
        length: int = 5,
        index: int = 0,
        inputs: Sequence[Stage] = (),
        reads: tuple[Read, ...] = (),
    ) -> None:
        super().__init__(problem, domains=[0], index=index, inputs=inputs, reads=reads)
        self._length = length
        self.on_step: Callable[[int], object] = lambda number: None

    @property
    def steps(self) -> int:
        return self._length

    def start(self, work: Work) -> State:
        layer = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
        return State(
            layer=layer,
            optimizer=optimizer,
            schedule=torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5),
            draws=work.generator("draws"),
            total=torch.zeros(3),
            seen=[],
            best=float("inf"),
            _constant=torch.ones(3),
        )

    def step(self, state: State, work: Work, number: int) -> Metrics:
        self.on_step(number)
        noise = torch.rand(4, 3, generator=state.draws) + torch.rand(1) + float(np.random.rand()) + random.random()
        loss = state.layer(noise * state._constant).square().mean()
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        state.schedule.step()
        state.total += noise.mean(0)
        state.seen.append(number)
        state.best = min(state.best, float(loss.detach()))
        return {"loss": loss.detach()}

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        parts = {
            "total": state.total.tolist(),
            "seen": state.seen,
            "best": state.best,
            "lr": state.schedule.get_last_lr(),
        }
        write_json(
            folder / "drift.json", parts | {name: value.tolist() for name, value in state.layer.state_dict().items()}
        )
        return {"best": state.best}

    def load(self, folder: Path, work: Work) -> dict[str, Any]:
        return dict(read_json(folder / "drift.json"))


class Killed(BaseException):
    """What ends a loop as a kill would."""


def killer(steps: int) -> Callable[[Progress], None]:
    """A tick that lets ``steps`` steps pass, and kills."""

    def tick(progress: Progress) -> None:
        nonlocal steps
        steps -= 1
        if steps < 0:
            raise Killed

    return tick
