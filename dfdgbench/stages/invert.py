"""Stage 1 of DEKAN: images out of one teacher (intra-domain extraction)."""

from __future__ import annotations

import torch

from dfdgbench.engine.problem import Problem
from dfdgbench.engine.work import Work
from dfdgbench.hparams import hparam
from dfdgbench.losses.moments import Moments, network_bands
from dfdgbench.networks.base import Network
from dfdgbench.networks.norm import batch_norms
from dfdgbench.networks.taps import pooled_moments
from dfdgbench.seeds import generator
from dfdgbench.settings import NOTHING
from dfdgbench.stages.pool import PoolSet
from dfdgbench.stages.synthesis import Guide, SetSize, Synthesis, Synthesise
from dfdgbench.stages.train import Teacher

REFERENCE_IMAGES = 1024


class Inversion(SetSize):
    """Hyper-parameters of stage 1."""

    epsilon: float = hparam(10.0, ge=0, le=100, doc="relaxation epsilon_DS in percent; 0 is none")


class Invert(Synthesise):
    """Synthesise a labelled set that one teacher recognises (DEKAN Eq. 4, 5).

    The moments at every batch normalisation are pulled to its running statistics. What is free around them is the
    epsilon-percentile of how far the moments of Gaussian images are off, measured on 1,024 images drawn once a teacher.
    """

    kind = "inverted"
    reads = NOTHING  # not one image of any domain

    def __init__(self, teacher: Teacher, problem: Problem, domain: int, hparams: Synthesis, index: int = 0) -> None:
        super().__init__(problem, hparams, domains=[domain], inputs=[teacher], index=index)
        self.teacher = teacher

    def guides(self, work: Work) -> list[Guide]:
        network: Network = work.input(self.teacher)
        reference = self._gaussian_moments(network, work)
        bands = network_bands(
            stored_moments(network),
            reference,
            self.hparams.epsilon,
            self.hparams.form,
            self.hparams.first_bn_var_percentile,
        )
        return [Guide(network, bands)]

    def _gaussian_moments(self, network: Network, work: Work) -> list[Moments]:
        """Moments of standard-normal images in the network's normalised space; the same for every shard."""
        size, noise = self.problem.image_size, generator(self.teacher.seed, "gaussian reference")
        batches = (
            work.runtime.images(torch.randn(128, 3, size, size, generator=noise)) * network.std[:, None, None]
            + network.mean[:, None, None]
            for _ in range(REFERENCE_IMAGES // 128)
        )
        return in_float32(pooled_moments(network, batches, unbiased=self.hparams.unbiased))


def in_float32(moments: list[Moments]) -> list[Moments]:
    """Pooled moments come in float64; they are compared with a batch's, which are in float32."""
    return [(mean.float(), variance.float()) for mean, variance in moments]


def stored_moments(network: Network) -> list[Moments]:
    """Running mean and variance of every batch normalisation, each [C]."""
    moments = []
    for _, layer in batch_norms(network):
        assert layer.running_mean is not None and layer.running_var is not None
        moments.append((layer.running_mean, layer.running_var))
    return moments


def inverted_set(teacher: Teacher, problem: Problem, domain: int, size: SetSize, images: int | None = None) -> PoolSet:
    """D_g^i: the images of one teacher, which is also who teaches on them."""
    shards = tuple(Invert(teacher, problem, domain, size.shard(), index) for index in range(size.shards(images)))
    return PoolSet(shards, {domain: 1.0})
