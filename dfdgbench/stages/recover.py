"""Recover: images optimised under one or several models, in groups that do not touch each other.

A group is the unit whose statistics are matched and that shares a crop. Groups of a shard are stepped in one batch; their losses
are summed and Adam works pixel by pixel, so that each group goes the way that it would go alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfdgbench.engine.flops import OPTIMISED, forward_flops
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics
from dfdgbench.engine.work import Work
from dfdgbench.hparams import Hparams, case, hparam
from dfdgbench.losses.schedules import cosine
from dfdgbench.networks.base import Network
from dfdgbench.seeds import generator
from dfdgbench.stages.distilled import DistilledShard
from dfdgbench.stages.pool import Pool, describe, quantise, save_pool
from dfdgbench.stages.shared_views import SharedViews

_LOG_EVERY = 100


class Recovery(Hparams):
    """Hyper-parameters that all recovered images share (spec, section 4)."""

    steps: int = hparam(4000, small=case(1000), gt=0, doc="iterations of every image (T)")
    lr: float = hparam(0.25, gt=0, doc="learning rate of Adam(0.5, 0.9) at the start of its cosine")
    crop: float = hparam(0.08, gt=0, le=1, doc="smallest area of the shared random crop")
    roll: int | None = hparam(
        None, ge=0, doc="largest cyclic shift in pixels; 32 at 224 pixels, in proportion, where not given"
    )


@dataclass(frozen=True, eq=False)
class Group:
    """Attributes:
    number: of the group in its set, which names its random draws.
    labels: int64 [B].
    """

    number: int
    labels: Tensor


Place = tuple[slice, slice]
"""Some groups, and of each some images."""


@dataclass(frozen=True)
class Active:
    """Attributes:
    groups: whose views are seen.
    place: where their pixels are.
    done: how many steps they have taken before.
    """

    groups: slice
    place: Place
    done: int


EVERYTHING: Place = (slice(None), slice(None))


class Pixels(nn.Module):
    """Images of G groups in normalised space, with an Adam of their own for every pixel.

    Betas 0.5 and 0.9, eps 1e-8 (SRe2L). After every step the pixels are clamped to what an image can hold.
    """

    values: Tensor
    first: Tensor
    second: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, values: Tensor, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values)
        self.register_buffer("first", torch.zeros_like(values))
        self.register_buffer("second", torch.zeros_like(values))
        self.register_buffer("mean", mean[:, None, None].clone(), persistent=False)
        self.register_buffer("std", std[:, None, None].clone(), persistent=False)

    def leaf(self, place: Place = EVERYTHING) -> Tensor:
        """Pixels [G, B, 3, S, S], for a gradient."""
        return self.values[place].detach().clone().requires_grad_()

    def images(self, values: Tensor | None = None) -> Tensor:
        """As images in [0, 1]."""
        return (self.values if values is None else values) * self.std + self.mean

    @torch.no_grad()
    def descend(self, gradient: Tensor, done: int, lr: float, place: Place = EVERYTHING) -> None:
        """One step of Adam for pixels that have taken ``done`` before."""
        values, first, second = self.values[place], self.first[place], self.second[place]
        first.mul_(0.5).add_(gradient, alpha=0.5)
        second.mul_(0.9).addcmul_(gradient, gradient, value=0.1)
        root = (second / (1 - 0.9 ** (done + 1))).sqrt_().add_(1e-8)
        values.addcdiv_(first, root, value=-lr / (1 - 0.5 ** (done + 1)))
        torch.minimum(torch.maximum(values, -self.mean / self.std, out=values), (1 - self.mean) / self.std, out=values)


class Recover(DistilledShard):
    """One shard of recovered images. Subclasses say which groups it has and what they are pulled to."""

    hparams: Recovery

    @property
    def steps(self) -> int:
        return self.hparams.steps

    @property
    @abstractmethod
    def images(self) -> int:
        """Images of the shard, known before anything is made."""

    @abstractmethod
    def groups(self) -> list[Group]:
        """The groups of the shard."""

    @abstractmethod
    def prepare(self, models: Sequence[Network], work: Work) -> dict[str, Any]:
        """What :meth:`losses` needs: parts of the state, with a leading underscore where they do not change."""

    @abstractmethod
    def losses(self, state: State, views: Tensor, labels: Tensor, number: int) -> dict[str, Tensor]:
        """Every term of what images are pulled to; ``loss`` is what is minimised, and each is [G] or a scalar.

        Args:
            views: the images as they are seen in this step, in [0, 1], [G * B, 3, S, S].
            labels: [G, B].
        """

    def active(self, state: State, number: int) -> Active:
        """What step ``number`` moves: by default everything."""
        return Active(slice(None), EVERYTHING, number)

    def cost(self) -> float:
        return self.steps * self.images * OPTIMISED * forward_flops(self.problem.network)

    @property
    def models(self) -> Sequence[Any]:
        """The stages whose models guide the images."""
        return self.inputs[:1]

    def start(self, work: Work) -> State:
        self.require_classes(work)
        models: list[Network] = [work.input(model) for model in self.models]
        groups, size = self.groups(), self.problem.image_size
        noise = [
            torch.randn(len(group.labels), 3, size, size, generator=draw)
            for group, draw in zip(groups, self.generators(groups, "noise"), strict=True)
        ]
        mean, std = models[0].mean.cpu(), models[0].std.cpu()
        return State(
            pixels=Pixels(self.stacked(noise), mean, std).to(work.device),
            _models=models,
            _labels=self.stacked([group.labels for group in groups]).to(work.device),
            _views=self.views(groups).to(work.device),
            **self.prepare(models, work),
        )

    @staticmethod
    def stacked(parts: list[Tensor]) -> Tensor:
        """The groups' tensors as one, [G, B, ...]."""
        return torch.stack(parts)

    def views(self, groups: Sequence[Group], purpose: str = "views") -> SharedViews:
        """The crops, mirror images and rolls of all steps."""
        hparams, size = self.hparams, self.problem.image_size
        roll = round(32 * size / 224) if hparams.roll is None else hparams.roll
        flip = self.problem.metadata.hflip
        return SharedViews.draw(hparams.steps, size, hparams.crop, flip, roll, self.generators(groups, purpose))

    def generators(self, groups: Sequence[Group], purpose: str) -> list[torch.Generator]:
        """One generator a group, by its number in the whole set: how groups are cut into shards is no matter."""
        return [generator(self.problem.trial_seed, self.kind, self.domains, each.number, purpose) for each in groups]

    def step(self, state: State, work: Work, number: int) -> Metrics:
        means = self.move(state, work, self.active(state, number), number)
        if number % _LOG_EVERY == 0 or number == self.steps - 1:
            work.log("  ".join([f"step {number}", *(f"{name} {float(value):.4g}" for name, value in means.items())]))
        return means

    def move(self, state: State, work: Work, now: Active, number: int) -> dict[str, Tensor]:
        """One step of what is active; the terms' means."""
        pixels: Pixels = state.pixels
        leaf = pixels.leaf(now.place)
        views = pixels.images(state._views.see(leaf, now.done, now.groups))
        terms = self.losses(state, work.runtime.images(views.flatten(0, 1)), state._labels[now.place], number)
        (gradient,) = torch.autograd.grad(terms["loss"].sum(), leaf)
        pixels.descend(gradient, now.done, cosine(now.done / self.hparams.steps, self.hparams.lr), now.place)
        return {name: value.detach().mean() for name, value in terms.items()}

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        images = quantise(state.pixels.images().flatten(0, 1))
        pool = Pool(images, state._labels.flatten().cpu())
        save_pool(folder, pool)
        return describe(pool)
