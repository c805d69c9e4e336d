"""The contract that every algorithm keeps. The suite runs it over the registry; ``dfdgbench check`` on anybody's own."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from dfdgbench.algorithms.base import ALGORITHMS, Algorithm
from dfdgbench.datasets.base import DATASETS
from dfdgbench.engine import records
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.progress import Progress
from dfdgbench.engine.runfolder import RunFolder
from dfdgbench.engine.stage import walk
from dfdgbench.errors import DfdgbenchError
from dfdgbench.hparams import resolve
from dfdgbench.planning import Plan, plan

TINY = {"classification": ("Debug28", "smallcnn"), "segmentation": ("DebugScenes", "segnet_small")}
"""The dataset and the network that an algorithm is tried on, by its task."""


class ContractError(DfdgbenchError):
    """An algorithm breaks the contract."""


class _KilledError(BaseException):
    """Ends a run as a kill would, in the middle."""


class _Mortal(RunFolder):
    """A run's folder whose run dies after so many steps."""

    def __init__(self, path: Path, steps: int) -> None:
        super().__init__(path)
        self.left = steps

    def tick(self, progress: Progress) -> None:
        self.left -= 1
        if self.left < 0:
            raise _KilledError


def require(holds: bool, message: str) -> None:
    """Raise ``ContractError`` where it does not hold."""
    if not holds:
        raise ContractError(message)


@dataclass
class Contract:
    """The checks on one algorithm, on a tiny dataset of the first task that it is for.

    Args:
        name: as ``--algorithm`` takes it.
        folder: where runs and artifacts go.
    """

    name: str
    folder: Path

    @cached_property
    def algorithm(self) -> type[Algorithm]:
        return ALGORITHMS.get(self.name)

    @property
    def task(self) -> str:
        """The first task that the algorithm is for."""
        return self.algorithm.tasks[0]

    def config(self, **options: Any) -> RunConfig:
        """A run that takes seconds."""
        known = {"batch_size": 4, **self.algorithm.tiny}
        names = set(self.algorithm.Hparams.names())
        tiny = {name: value for name, value in known.items() if name in names}
        dataset, network = TINY[self.task]
        given = {
            "dataset": dataset,
            "network": network,
            "test_envs": [0],
            "steps": 5,
            "checkpoint_freq": 2,
            "hparams": tiny,
        }
        return RunConfig.make(algorithm=self.name, **{**given, **options})

    def execution(self, place: str) -> Execution:
        """Snapshots after every step, on a CPU."""
        return Execution(device="cpu", artifacts=self.folder / place / "artifacts", checkpoint_every=0.0)

    def planned(self, place: str, **options: Any) -> Plan:
        """A plan whose artifacts are kept in ``place``."""
        return plan(self.config(**options), self.execution(place))

    def hyperparameters(self) -> None:
        """Defaults and draws are valid for every dataset, and JSON; every one is explained."""
        for name, info, _, _ in self.algorithm.Hparams.entries():
            require(bool(info.description), f"the hyper-parameter '{name}' has no doc")
        for dataset, found in DATASETS.items():
            for seed in range(5):
                values = resolve(
                    self.algorithm.Hparams, self.name, found.metadata, hparams_seed=seed, trial_seed=1
                ).flat()
                try:
                    json.dumps(values)
                except TypeError as error:
                    raise ContractError(f"hparams seed {seed} on {dataset} is not JSON: {error}") from error
        for preset, overrides in self.algorithm.presets.items():
            require(
                set(overrides) <= set(self.algorithm.Hparams.names()),
                f"the preset '{preset}' names unknown hyper-parameters",
            )

    def access(self) -> None:
        """The plan stays inside the setting, is the same twice, and hands each stage what it declares."""
        first, second = self.planned("access"), self.planned("access")
        keys = [stage.key for stage in walk(first.last)]
        require(keys == [stage.key for stage in walk(second.last)], "planned twice, the stages have different keys")

    def run(self) -> None:
        """A tiny run leaves DomainBed's records, with every accuracy between 0 and 1."""
        planned = self.planned("run")
        folder = planned.execute(self.folder / "run" / "run")
        found = records.read(folder.results)
        require(bool(found), "the run left no record")
        for record in found:
            for env in range(3):
                for split in planned.problem.split_names(env):
                    for metric in {"acc", planned.problem.task.suffixes[0]}:
                        value = record.get(f"env{env}_{split}_{metric}", math.nan)
                        require(0 <= value <= 1, f"env{env}_{split}_{metric} of step {record['step']} is {value}")
        require(
            {"step", "epoch", "mem_gb", "args", "hparams"} <= set(found[-1]), f"keys are missing: {sorted(found[-1])}"
        )

    def resume(self) -> None:
        """A run killed at every step ends with the records and weights of one left alone."""
        self.run()
        for _ in range(200):
            try:
                folder = self.planned("killed").execute(_Mortal(self.folder / "killed" / "run", steps=1))
                break
            except _KilledError:
                continue
        else:
            raise ContractError("killed after every second step, the run does not come to an end")
        alone = RunFolder(self.folder / "run" / "run")
        require(
            timeless(alone) == timeless(folder), "killed and resumed, the records differ from those of a run left alone"
        )
        if alone.model.exists():
            require(alone.model.read_bytes() == folder.model.read_bytes(), "killed and resumed, the weights differ")

    def reload(self) -> None:
        """The run can be loaded, and predicts scores of every class."""
        from dfdgbench.api import load

        self.run()
        run = load(self.folder / "run" / "run", device="cpu")
        network = run.plan.problem.network
        images = torch.rand(3, 3, *network.shape, generator=torch.Generator().manual_seed(0))
        scores = run.predict(images)
        wanted = (3, network.num_classes, *(network.shape if self.task == "segmentation" else ()))
        require(tuple(scores.shape) == wanted, f"scores of 3 images have the shape {tuple(scores.shape)}, not {wanted}")
        require(bool(torch.isfinite(scores).all()), "scores are not finite")


def timeless(folder: RunFolder) -> list[dict[str, Any]]:
    """A run's records without what differs between equal runs: times, and where it lies."""
    found = []
    for record in records.read(folder.results):
        args = {name: value for name, value in record["args"].items() if name != "output_dir"}
        found.append({name: value for name, value in record.items() if name != "step_time"} | {"args": args})
    return found


def checks_of(name: str) -> list[tuple[str, Callable[[], None]]]:
    """Titles and checks for the algorithm called ``name``, to be called in order. What they write goes with them."""
    contract = Contract(name, Path(tempfile.mkdtemp(prefix="dfdgbench-check-")))
    weakref.finalize(contract, shutil.rmtree, contract.folder, ignore_errors=True)
    contract.algorithm  # noqa: B018 - an unknown name is told before the first check
    return [
        ("hyper-parameters", contract.hyperparameters),
        ("plan and access", contract.access),
        ("a tiny run", contract.run),
        ("killed at every step and resumed", contract.resume),
        ("loaded again", contract.reload),
    ]
