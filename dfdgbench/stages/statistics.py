"""Statistics of the real source images as a squeezed model sees them: styles of domains, and what enters convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dfdgbench.datasets.feed.augment import BatchAugment
from dfdgbench.datasets.feed.training import PooledFeed
from dfdgbench.engine.flops import forward_flops
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, Stage
from dfdgbench.engine.work import Work
from dfdgbench.errors import ArtifactError, DataError
from dfdgbench.hparams import Hparams, hparam
from dfdgbench.losses.tiles import convolution_statistics
from dfdgbench.networks.base import Network
from dfdgbench.networks.entering import Layers, StyleLayers, convolutions, style_layers
from dfdgbench.networks.norm import batch_norms
from dfdgbench.networks.taps import moments
from dfdgbench.seeds import seed_hash
from dfdgbench.settings import Read, Released, Side
from dfdgbench.stages.squeeze import Squeezed

BATCH = 256
FILE = "statistics.safetensors"


class Pass(Hparams):
    """How real images are looked at, once each."""

    transform: Literal["rrc", "eval"] = hparam(
        "rrc",
        doc="random resized crop of area 0.08 to 1 with mirror image, as synthetic images are seen, or whole images",
    )


class StyleMeasure(Pass):
    """Hyper-parameters of the styles of domains (spec, section 4.4)."""

    layers: StyleLayers = hparam(
        "bn-in", doc="inputs or outputs of batch normalisations, or outputs of the network's stages"
    )
    moments: Literal["per-image", "pooled"] = hparam(
        "per-image", doc="mean of the images' variances (Eq. 5), or the variance of all their pixels"
    )
    class_balanced: bool = hparam(False, doc="give every class, instead of every image, the same weight")


class OverImages(Stage):
    """One pass of a model over the train splits of some source domains; a step is a batch of 256."""

    def __init__(self, squeezed: Squeezed, model: Stage, hparams: Pass, domains: Sequence[int], index: int = 0) -> None:
        problem: Problem = model.problem
        reads = tuple(Read(domain, problem.protocol.train) for domain in domains)
        super().__init__(
            problem,
            hparams,
            domains=domains,
            inputs=[model],
            reads=reads,
            side=Side.OWNER,
            releases=Released.STATISTICS,
            index=index,
        )

    hparams: Pass

    @property
    def count(self) -> int:
        """Images of the splits; the published number where they are not here."""
        try:
            return sum(len(self.problem.split(read.domain, read.split)) for read in self.reads)
        except DataError:
            counts = self.problem.metadata.counts or ()
            return sum(counts[read.domain] for read in self.reads if read.domain < len(counts))

    @property
    def steps(self) -> int:
        return max(1, -(-self.count // BATCH))

    def cost(self) -> float:
        return self.count * forward_flops(self.problem.network)

    def feed(self, work: Work) -> PooledFeed:
        """Batches in a shuffled order, seen as the transform says."""
        augment = BatchAugment((0.08, 1.0), hflip=self.problem.metadata.hflip, jitter=0.0, grayscale=0.0)
        return PooledFeed(
            [work.split(read) for read in self.reads],
            BATCH,
            seed_hash(self.seed, "pass"),
            [self.problem.reader(read.domain, work.device) for read in self.reads],
            augment if self.hparams.transform == "rrc" else None,
        )

    @staticmethod
    def joined(batch: Sequence[tuple[Tensor, Tensor]], work: Work) -> tuple[Tensor, Tensor]:
        """A batch of all domains together."""
        images = torch.cat([images.to(work.device) for images, _ in batch])
        return work.runtime.images(images), torch.cat([labels for _, labels in batch]).to(work.device)

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        save_file({f"{i:04d}": part.cpu().contiguous() for i, part in enumerate(state.sums)}, folder / FILE)
        return {"images": self.count}

    def load(self, folder: Path, work: Work) -> list[Tensor]:
        try:
            parts = load_file(folder / FILE)
        except Exception as error:  # safetensors raises its own
            raise ArtifactError(f"The statistics in {folder} cannot be read: {error}") from error
        return [parts[name].to(work.device) for name in sorted(parts)]


class Styles(OverImages):
    """The style of some source domains together, at every style layer: m and s² (domain transfer learning, Eq. 5).

    Its artifact is a list of m [C] and s² [C], layer after layer, accumulated in float64 and kept in float32.
    """

    kind = "styles"
    version = 3
    hparams: StyleMeasure

    def start(self, work: Work) -> State:
        network: Network = work.input(self.inputs[0])
        labels = torch.from_numpy(np.concatenate([work.split(read).labels for read in self.reads]))
        weights = torch.full((int(labels.max()) + 1,), 1 / len(labels), dtype=torch.float64)
        if self.hparams.class_balanced:
            counts = labels.bincount()
            weights = 1 / (counts.clamp(min=1) * (counts > 0).sum()).double()
        return State(sums=[], _network=network, _weights=weights.to(work.device), _feed=self.feed(work))

    def step(self, state: State, work: Work, number: int) -> Metrics:
        images, labels = self.joined(state._feed.batch(number), work)
        sums = style_sums(state._network, images, state._weights[labels], self.hparams.layers)
        state.sums = [
            one.to(two) + two for one, two in zip(state.sums or [torch.zeros_like(s) for s in sums], sums, strict=True)
        ]
        return {}

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        state.sums = style_of_sums(state.sums, self.hparams.moments)
        return super().finish(state, work, folder)


@torch.no_grad()
def style_sums(network: Network, images: Tensor, weights: Tensor, layers: StyleLayers) -> list[Tensor]:
    """Weighted sums over images of mu, mu² and the variance, each [C] in float64, layer after layer.

    Args:
        images: [B, 3, S, S] in [0, 1].
        weights: float64 [B].
    """
    sums: list[Tensor] = []
    with style_layers(network, layers) as seen:
        network(images)
        for tensor in seen.tensors():
            mean, variance = (part.double() for part in moments(tensor, groups=len(images)))
            sums += [weights @ part for part in (mean, mean.square(), variance)]
    return sums


def style_of_sums(sums: Sequence[Tensor], how: str) -> list[Tensor]:
    """m and s² of every layer, in float32, from :func:`style_sums` of all images with weights that sum to 1."""
    style: list[Tensor] = []
    for mean, square, variance in zip(sums[::3], sums[1::3], sums[2::3], strict=True):
        between = square - mean.square() if how == "pooled" else 0.0
        style += [mean.float(), (variance + between).float()]
    return style


class ConvolutionStatistics(OverImages):
    """Mean over batches of what enters each convolution (G-VBSM's cache, spec 4.2): channels' and tiles' moments.

    Every batch counts by its share of the images. It is a mean of batch variances, not a pooled variance. Four tensors a
    convolution: channel mean and variance [C], tile mean and variance [P].
    """

    kind = "convolution-statistics"

    def start(self, work: Work) -> State:
        return State(sums=[], _network=work.input(self.inputs[0]), _feed=self.feed(work))

    def step(self, state: State, work: Work, number: int) -> Metrics:
        images, _ = self.joined(state._feed.batch(number), work)
        network: Network = state._network
        with torch.no_grad(), Layers(network, convolutions(network)) as seen:
            network(images)
            found = [part for tensor in seen.tensors() for part in convolution_statistics(tensor)]
        state.sums = weighted(state.sums, found, len(images) / self.count)
        return {}


def weighted(sums: Sequence[Tensor], found: Sequence[Tensor], share: float) -> list[Tensor]:
    """``sums`` plus ``share`` times ``found``; no sums yet are zeros."""
    if not sums:
        return [share * part for part in found]
    return [one.to(two) + share * two for one, two in zip(sums, found, strict=True)]


def stored_statistics(network: Network) -> list[tuple[Tensor, Tensor]]:
    """Running mean and variance of every batch normalisation, each [C]."""
    stored = []
    for _, layer in batch_norms(network):
        assert layer.running_mean is not None and layer.running_var is not None
        stored.append((layer.running_mean, layer.running_var))
    return stored


def pairs(parts: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """m and s² of every layer, as :class:`Styles` leaves them."""
    return list(zip(parts[::2], parts[1::2], strict=True))
