"""SFDA: source-free adaptation for semantic segmentation by generated images and by a game of easy and hard patches."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.algorithms.adaptation import SFDA_PAPER, Adapting
from dfdgbench.algorithms.base import register
from dfdgbench.algorithms.generated import LITERAL, Generated, GeneratedHparams, Normalisation, Turns
from dfdgbench.datasets.feed.training import Batch
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import Metrics
from dfdgbench.errors import ConfigError
from dfdgbench.hparams import Hparams, group, hparam
from dfdgbench.losses.confidence import Norm, Prediction, halves, minus_squares, patch_entropies, patches
from dfdgbench.losses.dual_attention import Direction, Maps, Pairing, divergence_of_maps, rows
from dfdgbench.losses.source_free import Form, deceiving, shown_to_discriminator, telling_apart
from dfdgbench.networks.norm import statistics_kept
from dfdgbench.networks.segmentation import adversaries
from dfdgbench.networks.segmentation.adversaries import SMALLEST_PATCH, PatchDiscriminator
from dfdgbench.settings import SOURCE_FREE
from dfdgbench.stages.adapt import Given


class Sureness(Hparams):
    """Eq. 2."""

    norm: Norm = hparam("literal", doc="literal: as printed; released: as MaxSquare's code, divided by 2 K")


class Divergence(Hparams):
    """Eq. 7: from the target's attention."""

    pair: Pairing = hparam("same", doc="same: images of one place in the batch; batch_mean: the batches' mean maps")
    direction: Direction = hparam("fake_target", doc="fake_target: KL(fake || target)")


class Patches(Hparams):
    """IPSM, Eq. 13 to 16."""

    k: int = hparam(4, gt=0, doc="patches a side; 1 takes whole images (the paper's K = 1 is gamma = 0)")
    d_input: Literal["logits", "softmax", "self_info"] = hparam(
        "softmax", doc="what the discriminator sees; logits: as printed"
    )
    form: Form = hparam("bce", doc="the model's side: bce, which does not saturate, or minimax")


class Opponent(Hparams):
    """IPSM's discriminator."""

    lr: float = hparam(1e-4, gt=0, doc="learning rate of Adam at the first step; polynomial decay")
    width: int = hparam(64, gt=0, doc="channels behind its first convolution")
    norm: adversaries.Norm = hparam("batch", doc="of its convolutions")
    cond: adversaries.Condition = hparam("embedding", doc="how a patch's position joins: embedding or projection")


class Loop(Turns):
    """How generator and model take turns."""

    form: Literal["joint", "two_updates"] = hparam("joint", doc="Eq. 16 alone, or Eq. 12 and then Eq. 16")


class NormalisationOfBoth(Normalisation):
    """Batch normalisation of a model that sees the target's images and generated ones."""

    fake_updates: bool = hparam(False, doc="whether generated images update running statistics")


@register("SFDA", setting=SOURCE_FREE, paper=SFDA_PAPER)
class SFDA(Generated):
    """A copy of the source model grows sure of target pixels, agrees with it on generated images, and deceives a
    discriminator of easy and hard patches.

    An iteration is a step of the generator (Eq. 11), of the model (Eq. 16, which holds Eq. 12) and of the discriminator.
    ``gamma=0`` is SFDA without IPSM. The profile "recommended" is the default; "literal" is what the paper prints, with
    Adam's rate of 0.1, sums over 28,352 channels and saturated attention. The signs of Eq. 15 and 16 are the text's.
    """

    class Hparams(GeneratedHparams, Adapting):
        tau: float | None = hparam(
            None, ge=0, doc="weight of the divergence from the target's attention; beta where not given"
        )
        gamma: float = hparam(0.01, ge=0, doc="weight of the deception (IPSM); 0: without IPSM")
        tar: Sureness = group(Sureness, doc="sureness on the target (Eq. 2)")
        loop: Loop = group(Loop, doc="turns")
        bn: NormalisationOfBoth = group(NormalisationOfBoth, doc="batch normalisation on generated images")
        st: Divergence = group(Divergence, doc="divergence from the target's attention (Eq. 7)")
        ipsm: Patches = group(Patches, doc="patches (Eq. 13 to 16)")
        d: Opponent = group(Opponent, doc="the discriminator")

    presets = {"recommended": {}, "literal": {**LITERAL, "d.lr": 0.1, "ipsm.d_input": "logits"}}
    tiny = {**Generated.tiny, "ipsm.k": 2, "d.width": 4}

    def __init__(self, given: Given, hparams: Any) -> None:
        super().__init__(given, hparams)
        h = hparams
        self.tau = h.beta if h.tau is None else h.tau
        if h.gamma:
            self.discriminator = given.made(
                "discriminator",
                lambda: PatchDiscriminator(
                    given.num_classes, h.ipsm.k**2, norm=h.d.norm, condition=h.d.cond, width=h.d.width
                ),
            )
            self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), h.d.lr, betas=(0.9, 0.99), fused=True)

    @classmethod
    def check(cls, problem: Problem, hparams: Any) -> None:
        super().check(problem, hparams)
        if not hparams.gamma:
            return
        if hparams.batch_size % 2:
            raise ConfigError(
                f"SFDA: batch_size {hparams.batch_size} cannot be halved into easy and hard patches. Type an even number, as in "
                f"--hparam batch_size={hparams.batch_size + 1}, or --hparam gamma=0 for SFDA without IPSM."
            )
        (height, width), k = problem.network.shape, hparams.ipsm.k
        least = SMALLEST_PATCH * (2 if hparams.d.norm == "instance" else 1)
        if min(height, width) // k < least:
            raise ConfigError(
                f"SFDA: ipsm.k={k} cuts images of {height}x{width} into patches of {height // k}x{width // k} pixels; the "
                f"discriminator needs {least} a side. Type --hparam ipsm.k={max(1, min(height, width) // least)} or less, larger "
                "images (--image-size H W), or --hparam gamma=0."
            )

    def update(self, number: int, images: Tensor | None, labelled: Batch | None) -> Metrics:
        assert images is not None
        fakes, found = self.generate(number, images)
        for _ in range(self.hparams.loop.model_steps_per_g):
            shown = fakes if self.hparams.loop.reuse_fakes else self.fakes()
            found |= self.adapt(number, shown, images)
        return found

    def target_terms(self, logs: Maps, grid: tuple[int, int], images: Tensor | None) -> dict[str, tuple[float, Tensor]]:
        """The divergence of attention on generated images from that on the target's, which the generator descends (Eq. 7)."""
        if not self.tau or images is None:
            return {}
        with torch.no_grad(), statistics_kept(self.model):
            target = self.model(images, "features")
            of_target = self.attention.log_maps(rows(functional.adaptive_avg_pool2d(target, grid)))
        st = self.hparams.st
        return {"st": (self.tau, divergence_of_maps(logs, of_target, st.direction, st.pair))}

    def adapt(self, number: int, fakes: Tensor, images: Tensor) -> dict[str, Tensor]:
        """One step of the model (Eq. 16), then one of the discriminator on the same patches."""
        h = self.hparams
        agreement, found = self.agree(fakes, h.bn.fake_updates)
        if h.loop.form == "two_updates":
            self.descend(number, agreement)
            agreement, _ = self.agree(fakes, h.bn.fake_updates)
        seen = Prediction.of(self.model(images))
        sureness = minus_squares(seen.probabilities, h.tar.norm)
        loss = sureness + agreement
        found["tar"] = sureness.detach()
        found["loss"] = loss.detach()
        if not h.gamma:
            self.descend(number, loss)
            return found
        maps, easy, hard = self.sorted_patches(seen)
        # One pass of the discriminator serves both sides: the model's step leaves it as it is.
        judged = maps.detach().requires_grad_()
        logits = self.judge(judged)
        deception, slope = self.deception(logits, judged, hard)
        self.descend(number, loss, (maps, h.gamma * slope))
        found |= {"deception": deception, "loss": found["loss"] + h.gamma * deception}
        return found | self.discriminate(number, logits.gather(1, easy), logits.gather(1, hard))

    def deception(self, logits: Tensor, judged: Tensor, hard: Tensor) -> tuple[Tensor, Tensor]:
        """The model's loss on hard patches, and its gradient at ``judged`` [K² B, C, h, w], the patches whose ``logits``
        [K², B] the discriminator gave; 0 at easy ones, whatever normalisation carries there."""
        loss = deceiving(logits.gather(1, hard), self.hparams.ipsm.form)
        (slope,) = torch.autograd.grad(loss, judged, retain_graph=True)
        passed = torch.zeros_like(logits).scatter_(1, hard, 1.0).to(slope.dtype)
        return loss.detach(), slope * passed.flatten()[:, None, None, None]

    def sorted_patches(self, seen: Prediction) -> tuple[Tensor, Tensor, Tensor]:
        """What the discriminator sees of the patches, [K² B, C, h, w], position by position; and which places in the batch have
        easy and which hard ones, each [K², B / 2]."""
        h = self.hparams.ipsm
        easy, hard = halves(patch_entropies(seen, h.k))
        maps = patches(shown_to_discriminator(seen, h.d_input), h.k).flatten(0, 1)
        return maps, easy, hard

    def judge(self, maps: Tensor) -> Tensor:
        """The discriminator's logits [K², B] of :meth:`sorted_patches`, hard and easy ones in one batch, so that normalisation
        cannot tell them apart."""
        positions = self.hparams.ipsm.k**2
        places = torch.arange(positions, device=maps.device).repeat_interleave(len(maps) // positions)
        logits: Tensor = self.discriminator(maps, places)
        return logits.view(positions, -1)

    def discriminate(self, number: int, of_easy: Tensor, of_hard: Tensor) -> dict[str, Tensor]:
        """One step of the discriminator from its logits of both; what to log."""
        self.decay(self.d_optimizer, number, self.hparams.power)
        loss = telling_apart(of_hard, of_easy)
        self.d_optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=list(self.discriminator.parameters()))
        self.d_optimizer.step()
        right = torch.cat([of_hard > 0, of_easy <= 0]).float().mean()
        return {"d_loss": loss.detach(), "d_accuracy": right}
