"""Stage 2 of DEKAN: images that two teachers recognise (cross-domain fusion)."""

from __future__ import annotations

from typing import Literal

from dfdgbench.engine.problem import Problem
from dfdgbench.engine.work import Work
from dfdgbench.hparams import hparam
from dfdgbench.losses.moments import Band, network_bands
from dfdgbench.networks.base import Network
from dfdgbench.networks.norm import batch_norms, check_distinct
from dfdgbench.networks.taps import pooled_moments
from dfdgbench.stages.invert import in_float32, stored_moments
from dfdgbench.stages.pool import PoolSet
from dfdgbench.stages.synthesis import Guide, SetSize, Synthesis, Synthesise
from dfdgbench.stages.train import Teacher


class Fusing(Synthesis):
    """What decides a fused shard."""

    epsilon: float = hparam(70.0, ge=0, le=100, doc="relaxation epsilon_CD in percent; 0 is none")
    cross_ce: Literal["both", "a_only"] = hparam(
        "both", doc="whose cross-entropy: both teachers', or (released code) a's"
    )
    target: Literal["cross", "stored", "none"] = hparam(
        "cross", doc="what a's moments are pulled to: b's images as a sees them (Eq. 2), a's stored statistics, nothing"
    )
    layers: Literal["all", "exclude-last-stage"] = hparam("all", doc="which batch normalisations are matched")


class Fusion(Fusing, SetSize):
    """Hyper-parameters of stage 2."""

    def shard(self) -> Fusing:
        return Fusing.model_validate({name: getattr(self, name) for name in Fusing.model_fields})


class Fuse(Synthesise):
    """Synthesise a set that the teachers a and b recognise, in the style of b as a sees it (DEKAN Eq. 1, 2).

    The targets are the pooled moments at a's batch normalisations, a in eval mode, over all of b's inverted images as
    they are stored; what is free reaches the epsilon-percentile of the way back to a's own statistics. Teacher b
    contributes its cross-entropy alone. The pair is ordered: (a, b) and (b, a) are two sets.
    """

    kind = "fused"
    hparams: Fusing

    def __init__(
        self,
        a: Teacher,
        b: Teacher,
        images_of_b: PoolSet,
        problem: Problem,
        pair: tuple[int, int],
        hparams: Fusing,
        index: int = 0,
    ) -> None:
        needed = images_of_b.shards if hparams.target == "cross" else ()
        super().__init__(problem, hparams, domains=pair, inputs=[a, b, *needed], index=index)
        self.a, self.b, self.images_of_b = a, b, images_of_b

    @property
    def guide_count(self) -> int:
        return 1 if self.hparams.cross_ce == "a_only" else 2

    def guides(self, work: Work) -> list[Guide]:
        a: Network = work.input(self.a)
        b: Network = work.input(self.b)
        check_distinct(dict(zip(self.domains, (a, b), strict=True)))
        guides = [Guide(a, self._bands(a, work))]
        return guides if self.guide_count == 1 else [*guides, Guide(b, None)]

    def _bands(self, a: Network, work: Work) -> list[Band] | None:
        if self.hparams.target == "none":
            return None
        stored = stored_moments(a)
        targets = stored
        if self.hparams.target == "cross":
            seen = self.images_of_b.pool(work).batches(256, work.device)
            targets = in_float32(pooled_moments(a, map(work.runtime.images, seen), unbiased=self.hparams.unbiased))
        return network_bands(
            targets,
            stored,
            self.hparams.epsilon,
            self.hparams.form,
            self.hparams.first_bn_var_percentile,
            layer_weights(a, self.hparams.layers),
        )


def layer_weights(network: Network, layers: str) -> list[float]:
    """Weight of every batch normalisation: 1, but 0 in the last stage of the network where that is excluded.

    The last stage is the last direct child of the featurizer that holds batch normalisations (``layer4`` of a ResNet).
    """
    names = [name for name, _ in batch_norms(network)]
    if layers == "all":
        return [1.0] * len(names)
    stage = ".".join(names[-1].split(".")[:2]) + "."
    return [0.0 if f"{name}.".startswith(stage) else 1.0 for name in names]


def fused_set(
    teachers: dict[int, Teacher], inverted: dict[int, PoolSet], problem: Problem, pair: tuple[int, int], size: Fusion
) -> PoolSet:
    """D_g^{ab}: the images of an ordered pair, on which both teachers teach alike."""
    a, b = pair
    shards = tuple(
        Fuse(teachers[a], teachers[b], inverted[b], problem, pair, size.shard(), index)
        for index in range(size.shards())
    )
    return PoolSet(shards, {a: 0.5, b: 0.5})
