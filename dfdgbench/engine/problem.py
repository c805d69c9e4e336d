"""A problem: which dataset, cut how, with which domains as sources and which held out.

It is also the only door to the data. Stages pass through it by way of what they declare (see ``Work``), evaluation by
itself. Every domain and split has a fingerprint, which is remembered beside the artifacts: so a user who has the
released artifacts and not the data still finds them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from dfdgbench.datasets.base import Dataset, Metadata
from dfdgbench.datasets.domains import MaskedDomain, unlabelled
from dfdgbench.datasets.feed.pairs import PairReader
from dfdgbench.datasets.feed.readers import DataPath, Reader, make_reader
from dfdgbench.datasets.feed.split import Split
from dfdgbench.datasets.protocols import Protocol, SplitOptions
from dfdgbench.engine.keys import digest
from dfdgbench.errors import AccessError, ConfigError, EmptySplitError, MissingDataError
from dfdgbench.files import read_json, write_json
from dfdgbench.hparams import Hparams
from dfdgbench.networks.base import NetworkSpec
from dfdgbench.settings import Read, Role
from dfdgbench.tasks.base import Task

T = TypeVar("T")

# What the stage that is at work has declared, and whether with labels; None while none is.
_declared: ContextVar[dict[tuple[int, str], bool] | None] = ContextVar("declared", default=None)


@contextlib.contextmanager
def at_work(reads: Iterable[Read]) -> Iterator[None]:
    """Within the body a stage is at work: splits that it did not declare cannot be opened, and those that it declared to
    read unlabelled have no labels."""
    labelled: dict[tuple[int, str], bool] = {}
    for read in reads:
        labelled[read.domain, read.split] = read.labelled or labelled.get((read.domain, read.split), False)
    token = _declared.set(labelled)
    try:
        yield
    finally:
        _declared.reset(token)


class Fingerprints:
    """Fingerprints of splits, computed where the data is there and remembered for where it is not.

    Args:
        folder: where they are remembered, one small file each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, what: dict[str, Any], compute: Callable[[], str]) -> str:
        """The fingerprint of the split described by ``what``.

        Where ``compute`` finds no data, it is the remembered one; where none is remembered, a text that says so, with
        which plans can be printed but no stage can be run.
        """
        path = self.folder / f"{digest(what)[:24]}.json"
        try:
            fingerprint = compute()
        except MissingDataError:
            return str(read_json(path)["fingerprint"]) if path.exists() else f"absent:{digest(what)[:16]}"
        if not path.exists() or read_json(path)["fingerprint"] != fingerprint:
            write_json(path, {**what, "fingerprint": fingerprint}, "A fingerprint")
        return fingerprint


@dataclass(frozen=True, eq=False)
class Problem:
    """Attributes:
    sources, targets: domain indices.
    network: the predictor that is trained and evaluated.
    seed: DomainBed's run seed; drives the predictor stage.
    steps: of the predictor stage, None for the algorithm's or the dataset's default.
    checkpoint_freq: steps between records; None for the dataset's default, 0 for one at the end alone.
    data_path: how images are read.
    val_augment: whether the splits of source domains are evaluated with training augmentation, as DomainBed does.
    """

    dataset: Dataset
    protocol: Protocol
    options: SplitOptions
    task: Task
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    network: NetworkSpec
    fingerprints: Fingerprints
    seed: int = 0
    steps: int | None = None
    checkpoint_freq: int | None = None
    data_path: DataPath = field(default_factory=DataPath)
    val_augment: bool = False
    _splits: dict[tuple[int, str], Split] = field(default_factory=dict, repr=False)
    _readers: dict[tuple[int, torch.device], Reader | PairReader] = field(default_factory=dict, repr=False)
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def of_run(self, seed: int, steps: int | None, checkpoint_freq: int | None) -> Problem:
        """The same problem for another run, which has its own seed and length, and opens and makes nothing again."""
        return replace(self, seed=seed, steps=steps, checkpoint_freq=checkpoint_freq)

    def once(self, what: tuple[Hashable, ...], make: Callable[[], T], hparams: Hparams | None = None) -> T:
        """What ``make`` makes, made once for all runs of this problem.

        Args:
            what, hparams: all that decides it beside the problem; hyper-parameters count by their values, stages in
                ``what`` as themselves.
            make: may look at nothing that is a run's own (``seed``, ``steps``, ``checkpoint_freq``).
        """
        # As text, for 1 and 1.0 are equal and make different keys.
        key = (what, hparams and hparams.model_dump_json())
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    @property
    def metadata(self) -> Metadata:
        return self.dataset.metadata

    @property
    def trial_seed(self) -> int:
        return self.options.trial_seed

    @property
    def image_size(self) -> int:
        return self.network.image_size

    @cached_property
    def record_every(self) -> int:
        """Steps between records; 0 means at the end alone."""
        return self.metadata.checkpoint_freq if self.checkpoint_freq is None else self.checkpoint_freq

    def domain_name(self, domain: int) -> str:
        return self.metadata.domains[domain]

    def role(self, domain: int, split: str = "") -> Role | None:
        """ "source", "target", or None for a domain that is neither. Of a domain that is its own target, by ``split``."""
        if domain in self.sources and domain in self.targets:
            return "target" if split in ("uda", self.protocol.test) else "source"
        return "source" if domain in self.sources else "target" if domain in self.targets else None

    def use(self, split: str) -> str:
        """What the protocol has ``split`` for."""
        uses = {self.protocol.train: "train", self.protocol.validation: "validation"}
        return uses.get(split, "uda" if split == "uda" else "test")

    def lent(self, read: Read) -> bool:
        """Whether a read is of the test images themselves, without labels, which ``--transductive`` asks for."""
        asked = self.options.transductive and self.role(read.domain) == "target"
        return asked and read.split == self.adaptation and not read.labelled

    @property
    def adaptation(self) -> str:
        """The split of a target that unlabelled adaptation reads."""
        return self.protocol.adaptation(self.options)

    def split_names(self, domain: int) -> tuple[str, ...]:
        """The splits of a domain, known without data."""
        return self.protocol.names(domain in self.targets, self.options)

    def split(self, domain: int, name: str) -> Split:
        """The images of one split. ``DataError`` where they are not there, ``AccessError`` while a stage is at work that
        did not declare the read."""
        declared = _declared.get()
        if declared is not None and (domain, name) not in declared:
            raise AccessError(
                f"A stage opens the split '{name}' of the domain '{self.domain_name(domain)}' without having declared it. "
                "Add the read to the stage's reads."
            )
        if (domain, name) not in self._splits:
            opened = self.dataset.domain(domain)
            splits = self.protocol.split(opened, domain, domain in self.targets, self.options)
            if name not in splits:
                hint = " Type --uda-holdout-fraction 0.5, say, or --transductive." if name == "uda" else ""
                raise EmptySplitError(
                    f"The split '{name}' of domain '{opened.name}' is empty ({len(opened)} images, holdout fraction "
                    f"{self.options.holdout_fraction}). Its splits: {', '.join(splits)}.{hint}"
                )
            self._splits.update({(domain, each): Split(opened, keys) for each, keys in splits.items()})
        found = self._splits[domain, name]
        return found if declared is None or declared[domain, name] else Split(unlabelled(found.domain), found.keys)

    def reader(self, domain: int, device: torch.device) -> Reader:
        """What makes batches of a domain for networks on ``device``."""
        found = self.any_reader(domain, device)
        assert isinstance(found, Reader), f"the domain {domain} has masks"
        return found

    def pair_reader(self, domain: int, device: torch.device) -> PairReader:
        """The same of a domain of images with masks."""
        found = self.any_reader(domain, device)
        assert isinstance(found, PairReader), f"the domain {domain} has no masks"
        return found

    def any_reader(self, domain: int, device: torch.device) -> Reader | PairReader:
        """:meth:`reader` or :meth:`pair_reader`, as the domain is."""
        if (domain, device) not in self._readers:
            path = replace(self.data_path, device=device)
            opened = self.dataset.domain(domain)
            self._readers[domain, device] = (
                PairReader(opened, self.network.shape, path)
                if isinstance(opened, MaskedDomain)
                else make_reader(opened, self.image_size, path, self.metadata.native_size)
            )
        return self._readers[domain, device]

    def fingerprint(self, read: Read) -> str:
        """What stands for the content of a read in a stage's key."""
        return self.once(("fingerprint", read.domain, read.split), lambda: self._fingerprint(read))

    def _fingerprint(self, read: Read) -> str:
        what = {
            "dataset": self.metadata.name,
            "domain": self.domain_name(read.domain),
            "protocol": self.protocol.name,
            "split": read.split,
            "held_out": read.domain in self.targets,  # DomainBed shuffles its splits once more
            "trial_seed": self.options.trial_seed,
            "holdout_fraction": self.options.holdout_fraction,
            "uda_holdout_fraction": self.options.uda_holdout_fraction if read.domain in self.targets else 0.0,
        }
        token = _declared.set(None)  # a key is the engine's to make, whoever asks for it first
        try:
            return self.fingerprints.of(what, lambda: self.split(read.domain, read.split).fingerprint())
        finally:
            _declared.reset(token)


def choose_domains(
    metadata: Metadata, test_envs: list[int | str], train_envs: list[int | str] | None, own_target: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sources and targets from ``--train-envs`` and ``--test-envs``.

    The default sources are those that the dataset was published to be trained on for these targets, else all other
    domains. With ``own_target`` a domain may be both, if it is the only one.
    """
    targets = tuple(dict.fromkeys(metadata.index(env) for env in test_envs))
    if train_envs is None:
        held_out = {metadata.domains[target] for target in targets}
        paired = {source for source, target in metadata.pairs if target in held_out}
        others = [i for i in range(len(metadata.domains)) if i not in targets]
        sources = tuple(i for i in others if not paired or metadata.domains[i] in paired)
    else:
        sources = tuple(dict.fromkeys(metadata.index(env) for env in train_envs))
    if own_target and len(targets) == 1 and (sources == targets or (train_envs is None and not sources)):
        return targets, targets
    shared = sorted(set(sources) & set(targets))
    if shared:
        names = ", ".join(metadata.domains[i] for i in shared)
        raise ConfigError(f"Both trained on and held out: {names}. Leave each out of --train-envs or of --test-envs.")
    if not sources:
        raise ConfigError(
            f"No source domain is left: --test-envs holds out every domain of {metadata.name} ({metadata.numbered()})."
        )
    return sources, targets
