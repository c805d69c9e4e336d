"""The transfer network of domain transfer learning: trained to render the distilled images in each source domain's style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from dfdgbench.engine.flops import OPTIMISED, TRAINED, forward_flops
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, Stage
from dfdgbench.engine.work import Work
from dfdgbench.errors import ArtifactError
from dfdgbench.hparams import Hparams, hparam
from dfdgbench.losses.schedules import cosine
from dfdgbench.losses.styles import Reduction, set_style, style_distance
from dfdgbench.networks.entering import style_layers
from dfdgbench.networks.taps import moments
from dfdgbench.networks.transfer import WIDTH, TransferNetwork
from dfdgbench.seeds import generator
from dfdgbench.settings import Read, Released, Side
from dfdgbench.stages.pool import Pool, Shard, join, quantise, save_pool
from dfdgbench.stages.recover import Active, Pixels
from dfdgbench.stages.statistics import Styles
from dfdgbench.stages.style_recover import RecoverStyle, domain_style

_SHOWN = 2
_FLOPS_AT_224 = 2 * 7.717e9


class TransferLearning(Hparams):
    """Hyper-parameters of the transfer network; steps and weights are not in the paper (spec, section 4.4)."""

    width: int = hparam(WIDTH, gt=0, doc="channels of its first convolution")
    final_norm: bool = hparam(True, doc="normalise the last convolution too (Magenta)")
    lr: float = hparam(1e-3, gt=0, doc="learning rate of Adam(0.9, 0.999) at the start of its cosine")
    visit: int = hparam(100, gt=0, doc="steps on one batch before the next one's turn (N); divides recover.steps")
    schedule: Literal["lockstep", "post-hoc"] = hparam(
        "lockstep", doc="beside the images as they are recovered (Algorithm 1), or on the final images"
    )
    domains: int | None = hparam(None, gt=0, doc="domains a step, drawn; all of them where not given")
    ce_weight: float = hparam(1.0, ge=0, doc="weight of the cross-entropy (b_ce)")
    style_weight: float = hparam(1.0, ge=0, doc="weight of the style (b_style)")
    reduction: Reduction = hparam("mean", doc="how squared differences are reduced over channels (rho)")


@dataclass(frozen=True, eq=False)
class Transferred:
    """Attributes:
    network: renders images, parameters frozen.
    parameters: how many.
    bytes: on disk.
    """

    network: TransferNetwork
    parameters: int
    bytes: int


class LearnTransfer(Stage):
    """Train psi on every batch in turn (Algorithm 1): epochs, classes, batches, ``visit`` steps.

    The images do not depend on psi. In lockstep they are recovered once more beside it, by the very steps of ``recover``; after
    the fact the shards' final images are taken.

    Args:
        recover: all images' recovery, at once.
        styles: of the domains, in the order of psi's styles.
        shards: the final images.
    """

    kind = "transfer"
    version = 2
    hparams: TransferLearning

    def __init__(
        self, recover: RecoverStyle, hparams: TransferLearning, styles: Sequence[Styles], shards: Sequence[Shard]
    ) -> None:
        self.recover, self.styles, self.shards = recover, list(styles), list(shards)
        problem = recover.problem
        domains = [problem.metadata.index(name) for name in recover.domains]
        super().__init__(
            problem,
            hparams,
            domains=domains,
            inputs=[*recover.inputs, *shards],
            reads=tuple(Read(domain, problem.protocol.train) for domain in domains),
            side=Side.OWNER,
            releases=Released.SYNTHETIC,
        )

    def facts(self) -> Mapping[str, Any]:
        return {"groups": len(self.recover.numbers), "normalise": self.recover.normalise}

    @property
    def steps(self) -> int:
        return len(self.recover.numbers) * self.recover.steps

    def cost(self) -> float:
        count = self.steps * self.recover.batch
        styles = self.hparams.domains or len(self.styles)
        model = forward_flops(self.problem.network)
        psi = _FLOPS_AT_224 * (self.hparams.width / WIDTH) ** 2 * (self.problem.image_size / 224) ** 2
        lockstep = OPTIMISED * model if self.hparams.schedule == "lockstep" else 0.0
        return count * (lockstep + styles * (TRAINED * psi + OPTIMISED * model))

    def start(self, work: Work) -> State:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            psi = TransferNetwork(len(self.styles), self.hparams.width, self.hparams.final_norm)
        psi = psi.to(work.device).train()
        images = self.recover.start(work)
        groups = self.recover.groups()
        if self.hparams.schedule == "post-hoc":
            pixels: Pixels = images.pixels
            final = join([work.input(shard) for shard in self.shards]).images.to(work.device).float() / 255
            pixels.values.copy_(((final - pixels.mean) / pixels.std).view_as(pixels.values))
        measured = [domain_style(work.input(stage)) for stage in self.styles]
        return State(
            images=images,
            psi=psi,
            optimizer=torch.optim.Adam(psi.parameters(), lr=self.hparams.lr),
            _views=self.recover.views(groups, "views of renderings").to(work.device),
            _domains=self._domains(),
            _targets=[
                tuple(torch.stack(part) for part in zip(*layer, strict=True)) for layer in zip(*measured, strict=True)
            ],
        )

    def _domains(self) -> Tensor:
        """The domains of every step, int64 [steps, D]."""
        count = len(self.styles)
        wanted = min(self.hparams.domains or count, count)
        if wanted == count:
            return torch.arange(count).expand(self.steps, count)
        draw = generator(self.seed, "domains")
        return torch.rand(self.steps, count, generator=draw).argsort(1)[:, :wanted]

    def place(self, number: int) -> tuple[int, int]:
        """Which group step ``number`` visits, and how many steps that group has taken before."""
        groups = len(self.recover.numbers)
        visit, within = divmod(number, self.hparams.visit)
        epoch, group = divmod(visit, groups)
        return group, epoch * self.hparams.visit + within

    def step(self, state: State, work: Work, number: int) -> Metrics:
        group, done = self.place(number)
        one = slice(group, group + 1)
        pixels: Pixels = state.images.pixels
        images = pixels.images(pixels.values[group].clone())
        labels = state.images._labels[group]
        terms = self._descend(state, work, images, labels, state._domains[number], (one, done))
        for parameters in state.optimizer.param_groups:
            parameters["lr"] = cosine((number + 1) / (self.steps + 1), self.hparams.lr)
        if self.hparams.schedule == "lockstep":
            self.recover.move(state.images, work, Active(one, (one, slice(None)), done), done)
        return terms

    def _descend(
        self, state: State, work: Work, images: Tensor, labels: Tensor, domains: Tensor, seen_at: tuple[slice, int]
    ) -> dict[str, Tensor]:
        """One step of psi on a batch [B, 3, S, S], rendered in each of ``domains`` (Eq. 9 and 11, scaled to all domains)."""
        hparams, count = self.hparams, len(domains)
        styles = domains.to(work.device).repeat_interleave(len(images))
        ones = torch.ones(len(styles), device=work.device)
        psi: TransferNetwork = state.psi
        made = psi(images.repeat(count, 1, 1, 1), psi.mixture(styles, styles, ones))
        side = self.problem.image_size
        one, done = seen_at
        views = state._views.see(made[None, ..., :side, :side], done, one)[0]
        model = state.images._models[0]
        with style_layers(model, self.recover.layers) as seen:
            logits = model(work.runtime.images(views))
            tensors = seen.tensors()
        entropy = functional.cross_entropy(logits, labels.repeat(count), reduction="none").view(count, -1).mean(1).sum()
        style = torch.stack(
            [
                style_distance(
                    set_style(*moments(tensor, groups=len(views)), count),
                    (mean[domains], deviation[domains]),
                    normalise=self.recover.normalise,
                    reduction=hparams.reduction,
                    unbiased=self.recover.hparams.unbiased,
                ).sum()
                for tensor, (mean, deviation) in zip(tensors, state._targets, strict=True)
            ]
        ).sum()
        loss = (hparams.ce_weight * entropy + hparams.style_weight * style) * (len(self.styles) / count)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        return {"loss": loss.detach(), "ce": entropy.detach(), "style": style.detach()}

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        psi: TransferNetwork = state.psi.eval()
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in psi.state_dict().items()}, folder / "psi.safetensors"
        )
        final = join([work.input(shard) for shard in self.shards])
        of_class = len(final) // self.problem.network.num_classes
        chosen = [i for i in range(len(final)) if i % of_class < _SHOWN]
        for position, name in enumerate(self.domains):
            images = final.images[chosen].to(work.device).float() / 255
            style = torch.full((len(chosen),), position, device=work.device)
            with torch.no_grad():
                made = psi(images, psi.mixture(style, style, torch.ones(len(chosen), device=work.device)))
            rendered = folder / f"rendered as {name}".replace("/", "-")
            rendered.mkdir()
            side = self.problem.image_size
            save_pool(rendered, Pool(quantise(made[..., :side, :side]), final.labels[chosen]))
        return {"parameters": sum(parameter.numel() for parameter in psi.parameters())}

    def load(self, folder: Path, work: Work) -> Transferred:
        psi = TransferNetwork(len(self.styles), self.hparams.width, self.hparams.final_norm)
        try:
            psi.load_state_dict(load_file(folder / "psi.safetensors"))
        except Exception as error:  # the reader and a wrong content raise their own
            raise ArtifactError(f"The transfer network in {folder} cannot be read: {error}") from error
        psi = psi.to(work.device).eval().requires_grad_(False)
        count = sum(parameter.numel() for parameter in psi.parameters())
        return Transferred(psi, count, (folder / "psi.safetensors").stat().st_size)
