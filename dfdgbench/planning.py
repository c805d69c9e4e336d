"""From a run's options to its plan: the problem, the algorithm's stages, and the checks that need neither data nor time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from dfdgbench.algorithms.base import ALGORITHMS, Algorithm
from dfdgbench.cores import available_cores
from dfdgbench.datasets.base import DATASETS, Dataset, Metadata
from dfdgbench.datasets.feed.local import Local
from dfdgbench.datasets.feed.readers import DataPath
from dfdgbench.datasets.feed.shapes import dataset_label, side_or_sides, store_folders
from dfdgbench.datasets.protocols import SplitOptions, get_protocol
from dfdgbench.engine.artifacts import Store
from dfdgbench.engine.config import Execution, RunConfig, record_args
from dfdgbench.engine.execute import Engine
from dfdgbench.engine.problem import Fingerprints, Problem, choose_domains
from dfdgbench.engine.progress import Decoding
from dfdgbench.engine.runfolder import RunFolder
from dfdgbench.engine.runtime import Precision, Runtime, choose_device, device_model, set_threads
from dfdgbench.engine.stage import PredictorStage, Stage, computed_with, every_stage, walk
from dfdgbench.errors import ConfigError, DataError, DfdgbenchError, listing
from dfdgbench.hparams import Hparams, resolve
from dfdgbench.networks.base import NETWORKS, NetworkSpec, architecture, check_weights, download_weights
from dfdgbench.networks.base import resolve as resolve_network
from dfdgbench.settings import check_access
from dfdgbench.tasks.base import Task
from dfdgbench.tasks.classification import Classification
from dfdgbench.tasks.segmentation import Segmentation
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
        _check_dataset(config, algorithm, dataset.metadata)
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


def _check_dataset(config: RunConfig, algorithm: type[Algorithm], metadata: Metadata) -> None:
    """What of a config its dataset cannot give."""
    if metadata.task not in algorithm.tasks:
        raise ConfigError(
            f"{config.algorithm} is for {listing(algorithm.tasks)}, and {metadata.name} is a dataset for {metadata.task}. "
            "See `dfdgbench list datasets` and `dfdgbench list algorithms`."
        )
    if metadata.channels not in algorithm.channels:
        raise ConfigError(
            f"{config.algorithm} works on images of {' or '.join(map(str, algorithm.channels))} channels; those of "
            f"{metadata.name} have {metadata.channels}. Choose another --dataset or --algorithm."
        )
    if config.protocol not in (None, algorithm.protocol, *metadata.protocols):
        get_protocol(str(config.protocol))  # a name that no protocol has is told first
        raise ConfigError(
            f"{metadata.name} has no splits for the protocol '{config.protocol}'. Its protocols: {listing(metadata.protocols)}."
        )
    needs_uda = config.task == "domain_adaptation" and (config.protocol or metadata.protocol) == "domainbed"
    if needs_uda and not config.uda_holdout_fraction and not config.transductive:
        raise ConfigError(
            "--task domain_adaptation needs unlabelled target images. Type --uda-holdout-fraction 0.5, say, or --transductive "
            "to adapt to the test images themselves."
        )


def _check_network(spec: NetworkSpec, metadata: Metadata) -> None:
    task = architecture(spec.name).task
    if task != metadata.task:
        fitting = [name for name, found in NETWORKS.items() if found.task == metadata.task]
        raise ConfigError(
            f"The network '{spec.name}' is for {task}, and {metadata.name} is a dataset for {metadata.task}. Type --network with "
            f"one of: {listing(fitting)}."
        )


def task_of(dataset: Dataset, native_size: bool = False) -> Task:
    """How the dataset's batches are scored; with ``native_size`` masks in their own size, too."""
    if dataset.metadata.task == "segmentation":
        return Segmentation(dataset.metadata.classes, getattr(dataset, "subsets", {}), native_size)
    if native_size:
        raise ConfigError(
            f"--native-size scores masks in their own size, and {dataset.metadata.name} is a dataset for classification. Leave it "
            "out."
        )
    return Classification()


def make_problem(
    config: RunConfig, execution: Execution, dataset: Dataset, *, usual: str | None = None, own_target: bool = False
) -> Problem:
    """The problem that a config names.

    Args:
        usual: the protocol where the config names none; None: the dataset's.
        own_target: whether a domain can be its own target, under the ``usual`` protocol.
    """
    metadata = dataset.metadata
    protocol = get_protocol(config.protocol or usual or metadata.protocol)
    sources, targets = choose_domains(
        metadata, config.test_envs, config.train_envs, own_target and protocol.name == usual
    )
    return Problem(
        dataset=dataset,
        protocol=protocol,
        options=SplitOptions(
            config.trial_seed, config.holdout_fraction, config.uda_holdout_fraction, config.transductive
        ),
        task=task_of(dataset, config.native_size),
        sources=sources,
        targets=targets,
        network=network_of(config, metadata),
        fingerprints=Fingerprints(Path(execution.artifacts) / ".fingerprints"),
        seed=config.seed,
        steps=config.steps,
        checkpoint_freq=config.checkpoint_freq,
        data_path=data_path(config, execution, dataset),
        val_augment=config.val_augment,
    )


def network_of(config: RunConfig, metadata: Metadata) -> NetworkSpec:
    """The network that a config's predictor is."""
    height, width = side_or_sides(config.image_size, metadata)
    spec = NetworkSpec(
        resolve_network(config.network or metadata.network, height, metadata.task),
        num_classes=len(metadata.classes),
        weights=config.weights,
        image_size=height,
        channels=metadata.channels,
        image_width=width if width != height else None,
    )
    _check_network(spec, metadata)
    return spec


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
            except DataError:
                specs = [network_of(config, open_dataset(config.dataset, config.data_dir).metadata)]
            for spec in specs:
                found.setdefault((spec.name, spec.weights), spec)
    return list(found.values())


def data_path(config: RunConfig, execution: Execution, dataset: Dataset) -> DataPath:
    """How images are read: stores lie with the data, or in the user's cache folder where that cannot be written."""
    # By name: a sweep for GPUs may be planned where there is none.
    on_gpu = (choose_device("auto").type if execution.device == "auto" else execution.device) != "cpu"
    jobs = available_cores()
    return DataPath(
        kind=config.data_path,
        stores=store_folders(dataset, execution.store_dir),
        workers=(min(8, jobs) if on_gpu else 0) if execution.workers is None else execution.workers,
        jobs=jobs,
        threads=min(8, jobs) if on_gpu else execution.threads or 1,
        progress=Decoding(),
        local=_local(execution),
        dataset=dataset_label(dataset),
    )


def _local(execution: Execution) -> Local | None:
    if execution.local_dir is None:
        return None
    return Local(execution.local_dir, Decoding("copying to this machine's own disk, MiB"))


@lru_cache(maxsize=8)
def open_dataset(name: str, data_dir: str | None) -> Dataset:
    """A dataset, opened once a process: its images and fingerprints are kept for the next run."""
    return DATASETS.get(name)(data_dir)


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
