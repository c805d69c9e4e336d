"""Synthesis of images out of teachers: what inversion and fusion share.

Groups of B images are optimised under fixed labels. A group is the unit whose batch-normalisation moments are matched
and whose total variation is measured, so B is a hyper-parameter and not a knob for speed; a shard holds several groups,
which are stepped in one batch and whose losses are summed, so that each group's gradient is its own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdgbench.datasets.feed.jitter import Jitter, apply_jitter, draw_jitter
from dfdgbench.engine.flops import OPTIMISED, forward_flops
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics
from dfdgbench.engine.work import Work
from dfdgbench.errors import ConfigError
from dfdgbench.hparams import Hparams, case, hparam
from dfdgbench.losses.moments import Band, moment_loss
from dfdgbench.losses.prior import image_norm, total_variation
from dfdgbench.losses.schedules import warmup_cosine
from dfdgbench.networks.base import Network
from dfdgbench.networks.norm import check_batch_norm
from dfdgbench.networks.taps import Taps
from dfdgbench.seeds import generator
from dfdgbench.stages.canvas import make_canvas
from dfdgbench.stages.pool import Pool, Shard, describe, labels_of, quantise, save_pool

Form = Literal["norm", "channel", "channel-scaled"]
_LOG_EVERY = 100


class Synthesis(Hparams):
    """What decides a shard (DEKAN, arXiv 2110.04545, Eq. 1 to 5; its released code where the paper is silent)."""

    group: int = hparam(128, gt=0, doc="images whose moments are matched together")
    groups_per_shard: int = hparam(1, gt=0, doc="groups that are stepped in one batch; changes only the last digits")
    steps: int = hparam(2000, small=case(200), gt=0, doc="iterations")
    lr: float = hparam(0.1, gt=0, doc="learning rate of Adam(0.9, 0.99)")
    moment_weight: float = hparam(1.0, ge=0, doc="weight of the moment term (lambda_2, alpha_2)")
    tv_weight: float = hparam(1e-4, ge=0, doc="weight of TV_l1 + TV_l2")
    l2_weight: float = hparam(1.5e-5, ge=0, doc="weight of the images' norm")
    first_bn_multiplier: float = hparam(1.0, ge=0, doc="factor of the first layer's moments")
    epsilon: float = hparam(10.0, ge=0, le=100, doc="relaxation in percent; 0 is none")
    form: Form = hparam("channel", doc="how the relaxation is applied: norm (as printed), channel, channel-scaled")
    first_bn_var_percentile: float | None = hparam(None, ge=0, le=100, doc="relaxation of the first layer's variance")
    unbiased: bool = hparam(False, doc="unbiased batch variances")
    jitter: int | None = hparam(None, ge=0, doc="largest shift in pixels; by image size where not given")
    erase: float = hparam(0.5, ge=0, le=1, doc="probability of erasing a box")
    keep: Literal["last", "best"] = hparam("last", doc="which iterate is kept: the last, or that of the lowest loss")
    canvas: Literal["pixels", "pyramid"] = hparam(
        "pixels", doc="what is optimised: pixels, or a pyramid of low chroma (not the paper's)"
    )
    chroma: float = hparam(0.3, gt=0, le=1, doc="share of colour that the pyramid keeps")
    required_accuracy: float = hparam(
        90.0, ge=0, le=100, doc="the teachers' accuracy on the set, in percent, below which it is refused"
    )


class SetSize(Synthesis):
    """A shard's hyper-parameters, and how many images a set has."""

    images: int = hparam(256, gt=0, doc="images a set; a multiple of group * groups_per_shard")

    def shard(self) -> Synthesis:
        """What enters a shard's key: not the size of the set, so that a larger set has the smaller as its prefix."""
        return Synthesis.model_validate({name: getattr(self, name) for name in Synthesis.model_fields})

    def shards(self, images: int | None = None) -> int:
        """How many shards make ``images`` images (by default ``self.images``)."""
        wanted, each = images or self.images, self.group * self.groups_per_shard
        if wanted % each:
            raise ConfigError(
                f"A set of {wanted} images cannot be made of shards of {each} (group {self.group} times groups_per_shard "
                f"{self.groups_per_shard}). Give a multiple of {each}, or a smaller group."
            )
        return wanted // each


@dataclass(frozen=True, eq=False)
class Guide:
    """A teacher that images are optimised under: by their labels, and by its moments where there are bands."""

    teacher: Network
    bands: Sequence[Band] | None


def default_jitter(size: int) -> int:
    """The largest shift for images of ``size`` pixels (the released code's values, else a tenth)."""
    return {224: 30, 96: 9, 32: 2}.get(size, size // 10)


class Synthesise(Shard):
    """One shard of synthetic images. Subclasses say which teachers guide it."""

    hparams: Synthesis

    @property
    def steps(self) -> int:
        return self.hparams.steps

    @property
    def guide_count(self) -> int:
        """How many teachers guide it, known before they are there."""
        return 1

    def cost(self) -> float:
        images = self.steps * self.hparams.group * self.hparams.groups_per_shard
        return images * OPTIMISED * self.guide_count * forward_flops(self.problem.network)

    @abstractmethod
    def guides(self, work: Work) -> list[Guide]:
        """The teachers, with the bands their moments are pulled into."""

    def start(self, work: Work) -> State:
        guides = self.guides(work)
        for guide in guides:
            if guide.bands is not None:
                check_batch_norm(guide.teacher, self.problem.network.name)
        hparams, size = self.hparams, self.problem.image_size
        groups, count = hparams.groups_per_shard, hparams.groups_per_shard * hparams.group
        shift = default_jitter(size) if hparams.jitter is None else hparams.jitter
        flip = self.problem.metadata.hflip
        jitter = Jitter.join(
            [
                draw_jitter(hparams.steps, 1, size, shift, flip, hparams.erase, draw)
                for draw in self._generators("jitter")
            ]
        )
        canvas = make_canvas(
            hparams.canvas,
            guides[0].teacher,
            hparams.group,
            size,
            hparams.chroma,
            hparams.lr,
            self._generators("noise"),
        ).to(work.device)
        labels = labels_of(self.index * count, count, self.problem.network.num_classes)
        return State(
            canvas=canvas,
            optimizer=torch.optim.Adam(canvas.parameter_groups(), lr=hparams.lr, betas=(0.9, 0.99)),
            best=torch.full((count, 3, size, size), 0.5, device=work.device),
            best_loss=torch.full((groups,), float("inf"), device=work.device),
            _labels=labels.to(work.device),
            _jitter=jitter.to(work.device),
            _guides=guides,
        )

    def _generators(self, purpose: str) -> list[torch.Generator]:
        """One generator a group, by the group's number in the whole set: how groups are cut into shards is no matter."""
        first = self.index * self.hparams.groups_per_shard
        numbers = range(first, first + self.hparams.groups_per_shard)
        return [generator(self.problem.trial_seed, self.kind, self.domains, number, purpose) for number in numbers]

    def step(self, state: State, work: Work, number: int) -> Metrics:
        hparams = self.hparams
        self._schedule(state.optimizer, number)
        terms = self.losses(state, work, number)
        loss = terms["loss"].sum()
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        state.canvas.clamp()
        if hparams.keep == "best":
            self._keep_best(state, terms["loss"].detach())
        means = {name: value.detach().mean() for name, value in terms.items()}
        if number % _LOG_EVERY == 0 or number == self.steps - 1:
            work.log("  ".join([f"step {number}", *(f"{name} {float(value):.4g}" for name, value in means.items())]))
        return means

    def losses(self, state: State, work: Work, number: int) -> dict[str, Tensor]:
        """Every term for every group, each [G]; ``loss`` is their weighted sum (DEKAN Eq. 1, 4)."""
        hparams = self.hparams
        images: Tensor = state.canvas()
        grouped = apply_jitter(
            images.view(hparams.groups_per_shard, hparams.group, *images.shape[1:]), state._jitter, number
        )
        seen = work.runtime.images(grouped.flatten(0, 1))
        tv_l2, tv_l1 = total_variation(grouped)
        norm = image_norm(grouped)
        total = hparams.tv_weight * (tv_l1 + tv_l2) + hparams.l2_weight * norm
        terms = {"tv": tv_l2, "l2": norm}
        for position, guide in enumerate(state._guides):
            entropy, moments = self._guided(guide, seen, state._labels)
            total = total + entropy
            terms[f"ce{position or ''}"] = entropy
            if moments is not None:
                total = total + hparams.moment_weight * moments
                terms["moments"] = moments
        return {"loss": total, **terms}

    def _guided(self, guide: Guide, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Cross-entropy, and the moment term where the guide has bands, of each group [G]."""
        if guide.teacher.training:
            raise RuntimeError("a teacher is in train mode; its statistics would change")
        groups = self.hparams.groups_per_shard
        moments = None
        if guide.bands is None:
            logits = guide.teacher(images)
        else:
            with Taps(guide.teacher, unbiased=self.hparams.unbiased, groups=groups) as taps:
                logits = guide.teacher(images)
                moments = moment_loss(taps.moments(), guide.bands, self.hparams.first_bn_multiplier)
        entropy = functional.cross_entropy(logits, labels, reduction="none").view(groups, -1).mean(1)
        return entropy, moments

    def _schedule(self, optimizer: torch.optim.Optimizer, number: int) -> None:
        """Linear warm-up over a tenth of the steps, at most 100, then a cosine to 1 %."""
        warmup = min(100, self.steps // 10)
        for parameters in optimizer.param_groups:
            base = parameters.setdefault("base_lr", parameters["lr"])
            parameters["lr"] = warmup_cosine(number, self.steps, base, warmup)

    def _keep_best(self, state: State, losses: Tensor) -> None:
        better = losses < state.best_loss
        state.best_loss = torch.where(better, losses, state.best_loss)
        chosen = better.repeat_interleave(self.hparams.group)[:, None, None, None]
        state.best = torch.where(chosen, state.canvas().detach(), state.best)

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        images = state.best if self.hparams.keep == "best" else state.canvas()
        pool = Pool(quantise(images), state._labels.cpu())
        facts = describe(pool)
        for position, guide in enumerate(state._guides):
            name = f"teacher accuracy{f' {position + 1}' if position else ''}"
            facts[name] = 100 * accuracy_on(guide.teacher, pool, work)
            self._require(facts[name], guide, position)
        save_pool(folder, pool)
        return facts

    def _require(self, accuracy: float, guide: Guide, position: int) -> None:
        if accuracy < self.hparams.required_accuracy:
            raise ConfigError(
                f"'{self.title}': teacher {position + 1} recognises {accuracy:.1f} % of the images made for it, "
                f"{self.hparams.required_accuracy:g} % are required. Give more steps or a larger lr, tune moment_weight, or "
                "lower required_accuracy to let the set pass."
            )


def accuracy_on(teacher: nn.Module, pool: Pool, work: Work) -> float:
    """Share of a pool, as stored, whose labels ``teacher`` predicts."""
    with torch.no_grad():
        found = [teacher(work.runtime.images(images)).argmax(1).cpu() for images in pool.batches(256, work.device)]
    return float((torch.cat(found) == pool.labels).float().mean())
