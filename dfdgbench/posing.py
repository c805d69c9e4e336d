"""From a run's options to the problem that it poses: data, domains, network, and how images are read."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from dfdgbench.algorithms.base import Algorithm
from dfdgbench.cores import available_cores
from dfdgbench.datasets.base import DATASETS, Dataset, Metadata
from dfdgbench.datasets.feed.local import Local
from dfdgbench.datasets.feed.readers import DataPath
from dfdgbench.datasets.feed.shapes import dataset_label, side_or_sides, store_folders
from dfdgbench.datasets.protocols import SplitOptions, get_protocol
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.problem import Fingerprints, Problem, choose_domains
from dfdgbench.engine.progress import Decoding
from dfdgbench.engine.runtime import choose_device
from dfdgbench.errors import ConfigError, listing
from dfdgbench.networks.base import NETWORKS, NetworkSpec, architecture
from dfdgbench.networks.base import resolve as resolve_network
from dfdgbench.tasks.base import Task
from dfdgbench.tasks.classification import Classification
from dfdgbench.tasks.segmentation import Segmentation


def check_dataset(config: RunConfig, algorithm: type[Algorithm], metadata: Metadata) -> None:
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
