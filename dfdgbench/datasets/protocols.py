"""Protocols: which named splits a domain has, and what each of them is for.

``domainbed`` is DomainBed's: every domain is cut into ``in`` (80 %) and ``out`` (20 %), a held-out domain is tested on
its *in* split, and its *out* split is what an oracle may look at. ``official`` uses the parts a dataset was published
with, ``authors`` what the authors of a paper did instead; ``adaptation`` adapts to unlabelled images of a target and
tests on others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dfdgbench.datasets.base import Domain, Keys
from dfdgbench.errors import ConfigError, DataError, unknown
from dfdgbench.seeds import seed_hash


@dataclass(frozen=True)
class SplitOptions:
    """What decides how domains are cut: DomainBed's ``trial_seed`` and fractions.

    ``transductive``: unlabelled adaptation reads the very images that it is tested on.
    """

    trial_seed: int = 0
    holdout_fraction: float = 0.2
    uda_holdout_fraction: float = 0.0
    transductive: bool = False

    def __post_init__(self) -> None:
        for name in ("holdout_fraction", "uda_holdout_fraction"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be at least 0 and below 1.")


class Protocol(ABC):
    """Cuts a domain into splits.

    Attributes:
        train: the split a source domain is trained on.
        validation: the split of a source domain that selection may use, and of a held-out one that an oracle may.
        test: the split of a held-out domain whose accuracy is reported.
    """

    name: ClassVar[str]
    train: ClassVar[str]
    validation: ClassVar[str]
    test: ClassVar[str]

    @abstractmethod
    def split(self, domain: Domain, index: int, held_out: bool, options: SplitOptions) -> Mapping[str, Keys]:
        """Split names to indices into ``domain``. Empty splits are left out."""

    def names(self, held_out: bool, options: SplitOptions) -> tuple[str, ...]:
        """The splits that :meth:`split` would name, known without data."""
        return tuple(dict.fromkeys((self.train, self.validation, self.test)))

    def adaptation(self, options: SplitOptions) -> str:
        """The split of a held-out domain that unlabelled adaptation reads."""
        return self.test if options.transductive else "uda"


def shuffled(length: int, seed: int) -> Keys:
    """DomainBed's order of ``range(length)``: the legacy generator, stable across NumPy versions."""
    return np.random.RandomState(seed).permutation(length).astype(np.int64)


class DomainBedProtocol(Protocol):
    """In, out and uda splits exactly as DomainBed cuts them: the *first* shuffled keys are the out split."""

    name, train, validation, test = "domainbed", "in", "out", "in"

    def split(self, domain: Domain, index: int, held_out: bool, options: SplitOptions) -> Mapping[str, Keys]:
        seed = seed_hash(options.trial_seed, index)
        keys = shuffled(len(domain), seed)
        holdout = int(len(keys) * options.holdout_fraction)
        out, inside = keys[:holdout], keys[holdout:]
        splits = {"in": inside, "out": out}
        if held_out:
            order = shuffled(len(inside), seed)
            uda = int(len(inside) * options.uda_holdout_fraction)
            splits["uda"], splits["in"] = inside[order[:uda]], inside[order[uda:]]
        return {name: chosen for name, chosen in splits.items() if len(chosen)}

    def names(self, held_out: bool, options: SplitOptions) -> tuple[str, ...]:
        uda = ("uda",) if held_out and options.uda_holdout_fraction else ()
        return ("in", *(("out",) if options.holdout_fraction else ()), *uda)


class OfficialProtocol(Protocol):
    """The parts a dataset was published with: sources train on ``train`` (a tenth kept as ``val``), targets on ``test``.

    Unlabelled adaptation reads a target's ``train`` part, where that shares no image with ``test`` (in PACS it does).
    """

    name, train, validation, test = "official", "train", "val", "test"

    def split(self, domain: Domain, index: int, held_out: bool, options: SplitOptions) -> Mapping[str, Keys]:
        if not {"train", "test"} <= set(domain.parts):
            raise DataError(
                f"The domain '{domain.name}' has no train and test parts here, which the protocol 'official' needs. "
                + (f"{domain.parts_from}, or type" if domain.parts_from else "Type")
                + " --protocol domainbed."
            )
        splits = dict(domain.parts)
        train, test = splits["train"], splits["test"]
        if "val" not in splits:
            order = shuffled(len(train), seed_hash(options.trial_seed, index))
            held = len(train) - int(len(train) * 0.9)
            splits |= {"train": train[order[held:]], "val": train[order[:held]]}
        if held_out and "uda" not in splits and not np.intersect1d(train, test).size:
            splits["uda"] = train
        return splits


class AuthorsProtocol(Protocol):
    """DEKAN's code: train and test parts together, a tenth for validation by a fixed seed, targets tested on all of it."""

    name, train, validation, test = "authors", "train", "val", "all"
    seed: ClassVar[int] = 45

    def split(self, domain: Domain, index: int, held_out: bool, options: SplitOptions) -> Mapping[str, Keys]:
        import torch

        order = torch.randperm(len(domain), generator=torch.Generator().manual_seed(self.seed)).numpy()
        train = int(len(order) * 0.9)
        return {"train": order[:train], "val": order[train:], "all": np.arange(len(domain), dtype=np.int64)}


class AdaptationProtocol(Protocol):
    """A domain's parts as they are: sources train on ``train``, targets are adapted to on ``uda`` and tested on ``test``.

    A record holds ``val`` of the sources and ``test`` of the targets alone: to score a source's tens of thousands of
    training images each time would take longer than to train.
    """

    name, train, validation, test = "adaptation", "train", "val", "test"

    def split(self, domain: Domain, index: int, held_out: bool, options: SplitOptions) -> Mapping[str, Keys]:
        if not domain.parts:
            raise DataError(
                f"The domain '{domain.name}' has no parts (train, val, uda, test), which the protocol 'adaptation' needs. "
                "Type --protocol domainbed."
            )
        return {name: keys for name, keys in domain.parts.items() if len(keys)}

    def names(self, held_out: bool, options: SplitOptions) -> tuple[str, ...]:
        return (self.test,) if held_out else (self.validation,)


class PostHocProtocol(Protocol):
    """What post-hoc adaptation is tested with: the owner's images (A), a small target set (B) and unseen images of its domain (C).

    Of a domain, 80 % of the train part is ``in`` and the rest ``out``; of a held-out one, that rest is the target set ``uda``, and
    ``test`` are 1,024 images of the test part. A domain that was not published in two parts that share no image is cut into 40 %
    ``in``, 30 % ``uda`` and 30 % ``test`` where it is held out. So a domain can be its own target: models that were trained on its
    ``in`` have seen none of the others. ``whole`` is ``in`` and the rest of the train part together, which mimics a leak.

    What belongs to the owner does not depend on the trial: its models serve all trials. The trial chooses which images of
    ``uda`` come first, and those of ``test``.
    """

    name, train, validation, test = "post-hoc", "in", "out", "test"
    unseen: ClassVar[int] = 1024

    def split(self, domain: Domain, index: int, held_out: bool, options: SplitOptions) -> Mapping[str, Keys]:
        fixed = seed_hash(self.name, index)
        train, rest, test = self._cut(domain, fixed, held_out, options.holdout_fraction)
        splits = {"in": train, "out": rest, "whole": np.concatenate([train, rest])}
        if held_out:
            for name, part in (("uda", rest), ("test", test)):
                splits[name] = part[shuffled(len(part), seed_hash(options.trial_seed, index, name))]
            splits["test"] = splits["test"][: self.unseen]
        return {name: chosen for name, chosen in splits.items() if len(chosen)}

    def _cut(self, domain: Domain, seed: int, held_out: bool, holdout: float) -> tuple[Keys, Keys, Keys]:
        parts = domain.parts
        published = {"train", "test"} <= set(parts) and not np.intersect1d(parts["train"], parts["test"]).size
        if published or not held_out:
            whole = parts["train"] if published else np.arange(len(domain), dtype=np.int64)
            keys = whole[shuffled(len(whole), seed)]
            cut = len(keys) - int(len(keys) * holdout)
            return keys[:cut], keys[cut:], parts["test"] if published else keys[:0]
        keys = shuffled(len(domain), seed)
        first, second = int(0.4 * len(keys)), int(0.7 * len(keys))
        return keys[:first], keys[first:second], keys[second:]

    def names(self, held_out: bool, options: SplitOptions) -> tuple[str, ...]:
        return (self.test,) if held_out else (self.validation,) if options.holdout_fraction else (self.train,)


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        DomainBedProtocol(),
        OfficialProtocol(),
        AuthorsProtocol(),
        AdaptationProtocol(),
        PostHocProtocol(),
    )
}


def get_protocol(name: str) -> Protocol:
    """The protocol called ``name``."""
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
