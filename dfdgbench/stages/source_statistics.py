"""Statistics of a classifier's feature maps on the images it was trained on: a small file that its owner releases with it.

After it is made, no source image is read again. It holds, for every map and for every class as well as for all of them, the mean
and two variances per channel: the average of those within batches (the released code) and the pooled one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor

from dfdgbench.datasets.feed.training import pooled_batches
from dfdgbench.engine.flops import forward_flops
from dfdgbench.engine.predictions import read_tensors
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, Stage
from dfdgbench.engine.work import Work
from dfdgbench.errors import ArtifactError, DataError
from dfdgbench.files import read_json, write_bytes, write_json
from dfdgbench.hparams import Hparams, hparam
from dfdgbench.losses.homogenization import Moments, class_moments
from dfdgbench.networks.base import Network, NetworkSpec, build
from dfdgbench.networks.homogenization import normalised
from dfdgbench.networks.maps import FeatureMaps, projection
from dfdgbench.seeds import generator, seed_hash
from dfdgbench.settings import Read, Released, Side
from dfdgbench.stages.classifier import Classifier, Trained

Reading = Literal["code", "paper"]
Variance = Literal["within-batch", "pooled"]
TRAINED, RANDOM, PROJECTED = "network", "random", "projection"
FILE, ABOUT = "statistics.safetensors", "about.json"


class Gathering(Hparams):
    """Hyper-parameters of source statistics; they belong to the owner of the data."""

    batch_size: int = hparam(
        128, gt=0, doc="images whose variance is taken together, where it is averaged over batches"
    )
    projections: int = hparam(512, gt=0, doc="random directions of RP")
    seed: int = hparam(0, ge=0, doc="of the random network and the random directions")
    reading: Reading = hparam(
        "code", doc="a random network with batch normalisation calibrated on the images, or without"
    )


@dataclass(frozen=True)
class Statistics:
    """Released statistics.

    Attributes:
        about: what they are of: the digest of the network's weights, the fingerprints of the source images, seeds.
        tensors: ``FAMILY/PLACE/WHAT`` to [K + 1, C] (row 0 of all images, then one a class), and the random network's state.
    """

    about: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def classes(self) -> int:
        """How many classes K the images have."""
        return int(self.about["classes"])

    def moments(self, family: str, places: Sequence[int], *, by_class: bool, variance: Variance) -> list[Moments]:
        """Mean and variance of each place's map, [K, C] by class, else [1, C]."""
        rows = slice(1, None) if by_class else slice(0, 1)
        return [
            (self.tensors[f"{family}/{place}/mean"][rows], self.tensors[f"{family}/{place}/{variance}"][rows])
            for place in places
        ]

    def colour(self, by_class: bool) -> Tensor:
        """Mean per channel of the normalised source images, [K, C] or [1, C]."""
        mean: Tensor = self.tensors[f"{TRAINED}/0/mean"][1:] if by_class else self.tensors[f"{TRAINED}/0/mean"][:1]
        return mean

    def directions(self, shape: Sequence[int]) -> Tensor:
        """The random directions of RP for images of ``shape``, [d, s]."""
        return directions(shape, int(self.about["projections"]), int(self.about["seed"]))

    def random_network(self, like: Network, problem: Problem) -> Network:
        """The random network, on the device of ``like``, frozen and in eval mode."""
        network = build(_unlearned(problem), 0)
        prefix = f"{RANDOM}-state/"
        state = {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}
        network.load_state_dict(state)
        return network.to(like.mean.device).eval().requires_grad_(False)


def directions(shape: Sequence[int], count: int, seed: int) -> Tensor:
    """Random directions [d, count] of unit length, the same for everybody who has the seed."""
    size = int(torch.tensor(list(shape)).prod())
    return projection(size, count, generator(seed, "random projections", size, count))


def _unlearned(problem: Problem) -> NetworkSpec:
    return replace(problem.network, weights="none")


def weights_digest(network: Network) -> str:
    """What stands for a network's weights and buffers in its statistics."""
    total = hashlib.sha256()
    for name, value in network.state_dict().items():
        total.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def read_statistics(folder: Path) -> Statistics:
    """What :class:`SourceStatistics` left in ``folder``; ``ArtifactError`` where it is not there or damaged."""
    if not (folder / ABOUT).is_file():
        raise ArtifactError(
            f"There are no source statistics in {folder}: it has no {ABOUT}. Give the folder of an artifact 'source-statistics', "
            "which holds about.json and statistics.safetensors."
        )
    return Statistics(read_json(folder / ABOUT), read_tensors(folder / FILE))


def check_statistics(found: Statistics, network: Network, sources: Sequence[str], name: str) -> None:
    """``ArtifactError`` where statistics are of other weights, or of other images than these fingerprints say."""
    if found.about["network"] != weights_digest(network):
        raise ArtifactError(
            f"The source statistics are of another network: of '{found.about['architecture']}' with weights "
            f"{found.about['network'][:12]}, and the classifier is '{name}' with weights {weights_digest(network)[:12]}. Give the "
            "statistics that were released with it, or leave --hparam statistics_folder out to have them made."
        )
    given = list(found.about["sources"])
    if given != list(sources):
        raise ArtifactError(
            f"The source statistics are of other images (dataset {found.about['dataset']}, fingerprints "
            f"{[one[:12] for one in given]}) than the classifier was trained on ({[one[:12] for one in sources]}). "
            "Give the statistics that were released with it, or leave --hparam statistics_folder out to have them made."
        )


class SourceStatistics(Stage):
    """Gather the statistics of all feature maps in one pass over the source images (section 5).

    A random network is first calibrated by one more pass in train mode, unless ``reading`` is "paper".
    """

    kind = "source-statistics"
    hparams: Gathering

    def __init__(self, classifier: Classifier, problem: Problem, hparams: Gathering) -> None:
        self.classifier = classifier
        reads = tuple(Read(domain, problem.protocol.train) for domain in problem.sources)
        names = tuple(problem.domain_name(domain) for domain in problem.sources)
        super().__init__(
            problem,
            hparams,
            domains=problem.sources,
            inputs=[classifier],
            reads=reads,
            side=Side.OWNER,
            releases=Released.STATISTICS,
            seed=seed_hash(hparams.seed, self.kind, names),
        )

    @property
    def steps(self) -> int:
        return self._passes * self._batches

    @property
    def _passes(self) -> int:
        return 2 if self.hparams.reading == "code" else 1

    @cached_property
    def _batches(self) -> int:
        images = sum(len(self.problem.split(read.domain, read.split)) for read in self.reads)
        return pooled_batches(images, self.hparams.batch_size)

    def cost(self) -> float:
        try:
            images = self._batches * self.hparams.batch_size
        except DataError:
            return 0.0
        return (1 + self._passes) * images * forward_flops(self.problem.network)

    def start(self, work: Work) -> State:
        trained: Trained = work.input(self.classifier)
        network = trained.network
        random = work.place(build(_unlearned(self.problem), seed_hash(self.hparams.seed, "random network")))
        shape = (self.problem.network.channels, *self.problem.network.shape)
        return State(
            random=random.requires_grad_(False),
            totals={},
            _network=network,
            _feed=work.pooled_feed(list(self.reads), self.hparams.batch_size, augment=False),
            _directions=directions(shape, self.hparams.projections, self.hparams.seed).to(work.device),
        )

    @torch.no_grad()
    def step(self, state: State, work: Work, number: int) -> Metrics:
        parts = state._feed.batch(number)
        images = normalised(state._network, work.runtime.images(torch.cat([part for part, _ in parts])))
        labels = torch.cat([part for _, part in parts]).to(work.device)
        if number < (self._passes - 1) * self._batches:
            state.random.train()
            state.random.featurizer(images)
            return {}
        state.random.eval()
        families = {PROJECTED: [images.flatten(1) @ state._directions]}
        for name, network in ((TRAINED, state._network), (RANDOM, state.random)):
            with FeatureMaps(network) as maps:
                families[name] = maps.of(images)[1]
        for name, found in families.items():
            for place, map_ in enumerate(found):
                self._add(state.totals, f"{name}/{place}", map_, labels)
        return {}

    def _add(self, totals: dict[str, Tensor], name: str, map_: Tensor, labels: Tensor) -> None:
        """Add a batch to the sums of weighted means, variances and second moments, float64 [3, K + 1, C], and to the counts."""
        classes = self.problem.network.num_classes
        every, each = class_moments(map_), class_moments(map_, labels, classes)
        mean, variance, counts = (torch.cat([one, other]).double() for one, other in zip(every, each, strict=True))
        sums = torch.stack([mean, variance, variance + mean.square()]) * counts[:, None]
        for key, added in ((f"{name}/sums", sums.cpu()), (f"{name}/counts", counts.cpu())):
            totals[key] = totals[key] + added if key in totals else added

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        tensors = {f"{RANDOM}-state/{name}": value.cpu() for name, value in state.random.state_dict().items()}
        for key in [key for key in state.totals if key.endswith("/sums")]:
            name = key.removesuffix("/sums")
            tensors |= {f"{name}/{what}": value for what, value in _combined(state.totals, name).items()}
        size = self.problem.network.shape
        offset = tensors[f"{TRAINED}/0/mean"].repeat_interleave(size[0] * size[1], dim=1) @ state._directions.cpu()
        tensors[f"{PROJECTED}/0/mean"] -= offset
        write_bytes(
            folder / FILE, save({name: value.contiguous().clone() for name, value in tensors.items()}), "Statistics"
        )
        about = {
            "network": weights_digest(state._network),
            "architecture": self.problem.network.name,
            "dataset": self.problem.metadata.name,
            "sources": [self.problem.fingerprint(read) for read in self.reads],
            "classes": self.problem.network.num_classes,
            "projections": self.hparams.projections,
            "seed": self.hparams.seed,
            "reading": self.hparams.reading,
            "batch_size": self.hparams.batch_size,
        }
        write_json(folder / ABOUT, about)
        return {"maps": sum(key.endswith("/sums") for key in state.totals)}

    def load(self, folder: Path, work: Work) -> Statistics:
        return read_statistics(folder)


def _combined(totals: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Mean and both variances, float32 [K + 1, C]; 0 and 1 for a class without images."""
    counts = totals[f"{name}/counts"]
    mean, within, second = totals[f"{name}/sums"] / counts.clamp(min=1)[:, None]
    pooled = (second - mean.square()).clamp(min=0)
    for variance in (within, pooled):
        variance[counts == 0] = 1.0
    return {"mean": mean.float(), "within-batch": within.float(), "pooled": pooled.float()}
