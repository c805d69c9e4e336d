"""From a run's options to its plan: the problem, the algorithm's stages, and the checks that need neither data nor time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dfdgbench.algorithms.base import ALGORITHMS, Algorithm
from dfdgbench.datasets.base import Dataset, Metadata
from dfdgbench.engine.artifacts import Store
from dfdgbench.engine.config import Execution, RunConfig, record_args
from dfdgbench.engine.execute import Engine
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.runfolder import RunFolder
from dfdgbench.engine.runtime import Precision, Runtime, choose_device, device_model, set_threads
from dfdgbench.engine.stage import PredictorStage, Stage, computed_with, every_stage, walk
from dfdgbench.errors import DataError, DfdgbenchError
from dfdgbench.hparams import Hparams, resolve
from dfdgbench.networks.base import NetworkSpec, check_weights, download_weights
from dfdgbench.posing import check_dataset, make_problem, network_of, open_dataset
from dfdgbench.settings import check_access
from dfdgbench.versions import code

log = logging.getLogger("dfdgbench")


@dataclass(frozen=True, eq=False)
class Plan:
    """A run, ready to be executed.

    Attributes:
        last: the stage that yields the predictors; all others are reached through its inputs.
    """

    config: RunConfig
    execution: Execution
    problem: Problem
    algorithm: type[Algorithm]
    hparams: Hparams
    last: PredictorStage

    def require(self) -> Plan:
        """Have the weights that are needed here, before anything is computed; ``WeightsError`` where they cannot be had, and the
        last stage's own error where it is not ready. Missing data is told by the stage that reads it."""
        self.last.ready()
        for network in self.needed:
            check_weights(network)
            download_weights(network)
        return self

    @property
    def networks(self) -> list[NetworkSpec]:
        """The networks that stages start from: the predictor's, and those of other roles; one for each of their weights."""
        return _networks([self.last, *every_stage(self.last)])

    @property
    def needed(self) -> list[NetworkSpec]:
        """Those of the run itself and of shared stages that have not been made yet."""
        store, asked = Store(self.execution.artifacts), set[str]()
        stages: list[Stage] = [self.last]
        for stage in stages:  # which grows by those that are not there
            for given in stage.inputs:
                if given.key not in asked and not store.path(given.address).exists():
                    stages.append(given)
                asked.add(given.key)
        return _networks(stages)

    def engine(self) -> Engine:
        """What executes it."""
        device = choose_device(self.execution.device)
        set_threads(device, self.execution.threads)
        precision = Precision(self.config.dtype, self.config.channels_last, self.config.compile)
        return Engine(Store(self.execution.artifacts), Runtime(device, precision), self.execution.checkpoint_every)

    def header(self, folder: Path) -> dict[str, Any]:
        """What every record carries: DomainBed's ``args``, with the resolved names, and ``hparams``."""
        args = record_args(self.config, self.execution, folder)
        args |= {
            "protocol": self.problem.protocol.name,
            "network": self.problem.network.name,
            "image_size": list(shape) if (shape := self.problem.network.shape)[0] != shape[1] else shape[0],
            "test_envs": list(self.problem.targets),
            "train_envs": list(self.problem.sources),
            "setting": self.algorithm.setting.name,
            "oracle": self.algorithm.oracle,
        }
        return {"args": args, "hparams": self.hparams.flat()}

    def description(self, folder: Path, engine: Engine) -> dict[str, Any]:
        """config.json: the run's identity, then everything resolved, and what computed it."""
        import torch

        return {
            "run": self.config.identity(),
            "config": self.config.model_dump()
            | {"data_dir": _absolute(self.config.data_dir), "dataset": _findable(self.config.dataset)},
            "execution": self.execution.model_dump(mode="json") | {"artifacts": _absolute(self.execution.artifacts)},
            **self.header(folder),
            "setting": self.algorithm.setting.name,
            "domains": list(self.problem.metadata.domains),
            "stages": {stage.title: stage.key for stage in walk(self.last)},
            "device": device_model(engine.runtime.device),
            "precision": engine.runtime.precision.identity(),
            "threads": torch.get_num_threads(),
            **code(),
        }

    def execute(self, folder: str | Path | RunFolder) -> RunFolder:
        """Run it in ``folder``, or go on with it."""
        run = folder if isinstance(folder, RunFolder) else RunFolder(folder)
        self.require()
        # Several seconds, which belong before the run says that it is under way: there it would look stuck.
        import torchvision  # noqa: F401

        for notice in self.problem.dataset.notices:
            log.warning("%s", notice)
        engine = self.engine()
        run.open(self.description(run.path, engine))
        engine.run(
            self.last,
            run,
            self.header(run.path),
            save_model=not self.execution.skip_model_save,
            save_every=self.execution.save_model_every_checkpoint,
        )
        return run


def plan(config: RunConfig, execution: Execution | None = None) -> Plan:
    """The plan of a run; options that are wrong or do not go together are errors here, before anything runs."""
    return Planner(execution or Execution()).plan(config)


# Options that decide nothing of a run's problem, and of its hyper-parameters. One that is missing here costs time only.
_NOT_OF_PROBLEM = {
    "algorithm",
    "preset",
    "hparams",
    "hparams_seed",
    "hparams_trial",
    "seed",
    "steps",
    "checkpoint_freq",
}
_NOT_OF_HPARAMS = {"test_envs", "train_envs", "seed", "steps", "checkpoint_freq"}
_NOT_OF_NETWORKS = _NOT_OF_HPARAMS | {"trial_seed", "hparams_seed", "hparams_trial"}


class Planner:
    """Plans many runs, and makes once what several of them have in common: problems, with all that is opened and made
    for them, hyper-parameters, and the check of their weights.

    What it found it keeps for good: a new look at data and weights is a new planner.
    """

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self._problems: dict[str, Problem] = {}
        self._hparams: dict[str, Hparams] = {}
        self._weights: dict[NetworkSpec, list[str]] = {}

    def plan(self, config: RunConfig) -> Plan:
        """The plan of a run, as :func:`plan` makes it."""
        algorithm = ALGORITHMS.get(config.algorithm)
        dataset = open_dataset(config.dataset, config.data_dir)
        check_dataset(config, algorithm, dataset.metadata)
        problem = self._problem(config, dataset, algorithm)
        hparams = self._resolved(config, algorithm, dataset.metadata)
        last = algorithm.plan(problem, hparams)
        stages = every_stage(last)
        computed_with(stages, Precision(config.dtype, config.channels_last, config.compile))
        check_access(stages, algorithm.setting, problem)  # before any key is made, which reads fingerprints
        config = config.model_copy(update={"test_envs": list(problem.targets)})
        return Plan(config, self.execution, problem, algorithm, hparams, last)

    def problems(self, planned: Plan) -> list[str]:
        """What would stop a run here and now: weights that cannot be had, data that is missing, a last stage not ready."""
        for network in planned.networks:
            if network not in self._weights:
                self._weights[network] = _told(partial(check_weights, network))
        weights: list[str] = []
        if any(self._weights[network] for network in planned.networks):
            weights = [problem for network in planned.needed for problem in self._weights[network]]
        blind = [_absence(stage) for stage in every_stage(planned.last) if stage.blind]
        return list(dict.fromkeys(weights + blind + _told(planned.last.ready)))

    def _problem(self, config: RunConfig, dataset: Dataset, algorithm: type[Algorithm]) -> Problem:
        usual, own = algorithm.protocol, algorithm.own_target
        common = repr((config.model_dump(exclude=_NOT_OF_PROBLEM), usual, own))
        if common not in self._problems:
            self._problems[common] = make_problem(config, self.execution, dataset, usual=usual, own_target=own)
        return self._problems[common].of_run(config.seed, config.steps, config.checkpoint_freq)

    def _resolved(self, config: RunConfig, algorithm: type[Algorithm], metadata: Metadata) -> Hparams:
        given = repr(config.model_dump(exclude=_NOT_OF_HPARAMS))
        if given not in self._hparams:
            self._hparams[given] = _resolve(config, algorithm, metadata)
        return self._hparams[given]


def _resolve(config: RunConfig, algorithm: type[Algorithm], metadata: Metadata) -> Hparams:
    if config.hparams_seed and algorithm.Hparams.searched(metadata) == 0:
        log.warning(
            "%s has no hyper-parameter to search on %s: hparams seed %d is its defaults.",
            config.algorithm,
            config.dataset,
            config.hparams_seed,
        )
    return resolve(
        algorithm.Hparams,
        algorithm.name,
        metadata,
        hparams_seed=config.hparams_seed,
        trial_seed=config.trial_seed if config.hparams_trial is None else config.hparams_trial,
        layers=(algorithm.preset(config.preset), config.hparams),
    )


def _networks(stages: Iterable[Stage]) -> list[NetworkSpec]:
    """What ``stages`` train, one for each of their weights."""
    found: dict[tuple[str, str], NetworkSpec] = {}
    for stage in stages:
        network: NetworkSpec = getattr(stage, "network", stage.problem.network)
        found.setdefault((network.name, network.weights), network)
    return list(found.values())


def _told(check: Callable[[], object]) -> list[str]:
    """What the check raises, as a list of one."""
    try:
        check()
    except DfdgbenchError as error:
        return [str(error)]
    return []


def networks_of(configs: Iterable[RunConfig]) -> list[NetworkSpec]:
    """The networks that the runs' stages start from, one for each of their weights. Where data that decides on stages is not
    there, or does not do, the predictor's alone."""
    found: dict[tuple[str, str], NetworkSpec] = {}
    seen: set[str] = set()
    planner = Planner(Execution())
    for config in configs:
        asked = repr(config.model_dump(exclude=_NOT_OF_NETWORKS))
        if asked not in seen:
            seen.add(asked)
            try:
                specs = planner.plan(config).networks
            except DataError as error:
                log.warning(
                    "%s So of %s on %s, --network alone is looked for.", error, config.algorithm, config.dataset
                )
                specs = [network_of(config, open_dataset(config.dataset, config.data_dir).metadata)]
            for spec in specs:
                found.setdefault((spec.name, spec.weights), spec)
    return list(found.values())


def _findable(dataset: str) -> str:
    """The dataset's name, from whatever folder it is asked for."""
    scheme, _, path = dataset.partition(":")
    return f"folder:{_absolute(path)}" if scheme == "folder" else dataset


def _absolute(path: str | Path | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().resolve())


def _absence(stage: Any) -> str:
    try:
        for read in stage.reads:
            stage.problem.split(read.domain, read.split)
    except DataError as error:
        return str(error)
    return f"'{stage.title}' reads data that is not here."
