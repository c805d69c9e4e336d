"""What SFDA and its transfer stage share: images generated for a released model, and a model that agrees with it on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from dfdgbench.algorithms.adaptation import Adaptation, Optimising, fixed
from dfdgbench.engine.problem import Problem
from dfdgbench.hparams import Hparams, group, hparam
from dfdgbench.losses.dual_attention import Attention, Energies, Maps, rows
from dfdgbench.losses.source_free import Reduce, Space, output_distance, statistics_loss
from dfdgbench.networks.needs import require_batch_norm
from dfdgbench.networks.norm import batch_norms, statistics_kept
from dfdgbench.networks.segmentation.adversaries import Generator, Range
from dfdgbench.networks.taps import Taps
from dfdgbench.stages.adapt import Given

SATURATED = 0.99
SHOWN = 4
"""Generated images beside a record."""


class Statistics(Hparams):
    """Eq. 4: statistics of batch normalisation."""

    weight: float = hparam(1.0, ge=0, doc="weight in the generator's loss; the paper has none")
    reduce: Reduce = hparam("layer_mean", doc="sum: over all channels, as printed; layer_mean: over layers' means")
    power: Literal[1, 2] = hparam(2, doc="2: squared norms, as printed; 1: norms")
    skip_1x1: bool = hparam(True, doc="leave out layers that see one position an image")


class Difference(Hparams):
    """Eq. 5: how far the model is from the released one."""

    space: Space = hparam("logits", doc="of what: logits or prob")
    reduce: Literal["mean", "literal"] = hparam("mean", doc="literal: summed over pixels, H W times as much")


class AttentionMaps(Hparams):
    """Eq. 8 to 10: the attention maps."""

    norm: Energies = hparam("l2_energy", doc="of features before energies are taken; none: as printed, saturates")
    temperature: float = hparam(1.0, gt=0, doc="what energies of 'cos' are multiplied with")
    channel_invert: bool = hparam(False, doc="turn the order of channel energies around, as DANet does")


class Generating(Hparams):
    """The generator."""

    lr: float = hparam(1e-3, gt=0, doc="learning rate of Adam at the first step; polynomial decay")
    latent: int = hparam(256, gt=0, doc="numbers an image is made of")
    width: int = hparam(64, gt=0, doc="channels before its last convolution")
    out: Range = hparam("tanh_norm", doc="tanh_norm: images in [0, 1]; tanh_bn: channels normalised over the batch")


class Turns(Hparams):
    """How generator and model take turns."""

    model_steps_per_g: int = hparam(1, gt=0, doc="the model's steps for each of the generator's")
    reuse_fakes: bool = hparam(False, doc="show the model the images that the generator was just judged by")


class Normalisation(Hparams):
    """Batch normalisation of the model on generated images."""

    fake_mode: Literal["train", "eval"] = hparam("train", doc="train: by the batch; eval: by running statistics")


class Log(Hparams):
    """What is measured on the way."""

    gradients: int = hparam(50, ge=0, doc="steps between measurements of each term's gradient and of maps; 0: never")


class GeneratedHparams(Optimising):
    """Hyper-parameters that have an effect with and without images of the target. The defaults are the profile "recommended"."""

    alpha: float = hparam(1.0, ge=0, doc="weight of the difference of outputs (Eq. 5)")
    beta: float = hparam(0.5, ge=0, doc="weight of the difference of attended features (Eq. 6)")
    bns: Statistics = group(Statistics, doc="statistics of batch normalisation (Eq. 4)")
    mae: Difference = group(Difference, doc="difference of outputs (Eq. 5)")
    dam: AttentionMaps = group(AttentionMaps, doc="attention maps (Eq. 8 to 10)")
    g: Generating = group(Generating, doc="the generator")
    loop: Turns = group(Turns, doc="turns")
    bn: Normalisation = group(Normalisation, doc="batch normalisation on generated images")
    log: Log = group(Log, doc="measurements")


LITERAL: dict[str, Any] = {"g.lr": 0.1, "bns.reduce": "sum", "bns.skip_1x1": False, "dam.norm": "none"}
"""What the paper prints, where that is well defined and not recommended."""


class Generated(Adaptation):
    """Base of SFDA and its transfer stage: the generator's step (Eq. 11) and the model's on generated images (Eq. 12)."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"recommended": {}, "literal": LITERAL}
    tiny = {**Adaptation.tiny, "g.width": 4, "g.latent": 8, "log.gradients": 2}

    def __init__(self, given: Given, hparams: Any) -> None:
        # What is generated is judged by what evaluation looks at: an auxiliary head sees nothing of it.
        super().__init__(replace(given, source=given.source.one_level()), hparams)
        h, given = hparams, self.given
        self.generator = given.made(
            "generator",
            lambda: Generator(
                generated_size(given.shape), h.g.latent, h.g.width, h.g.out, given.source.mean, given.source.std
            ),
        )
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), h.g.lr, betas=(0.9, 0.999), fused=True)
        self.noise = torch.Generator().manual_seed(given.seed)
        self.attention = Attention(h.dam.norm, h.dam.temperature, h.dam.channel_invert)

    @classmethod
    def check(cls, problem: Problem, hparams: Any) -> None:
        require_batch_norm(problem.network)

    # The generator's step ---------------------------------------------------------------------------------------------

    def generate(self, number: int, images: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of the generator (Eq. 11); the images that it was judged by, and what to log."""
        raw = self.generator.raw(self._noise())
        fakes = self.generator.shown(raw)
        with fixed(self.model):
            terms = self.generator_terms(fakes, images)
            loss = torch.stack([weight * term for weight, term in terms.values()]).sum()
            found = {f"g_{name}": term.detach() for name, (_, term) in terms.items()}
            if self._measured(number):
                found |= {f"g_{name}_gradient": _norm(weight * term, fakes) for name, (weight, term) in terms.items()}
                found |= self._flatness(fakes)
            self.decay(self.g_optimizer, number, self.hparams.power)
            self.g_optimizer.zero_grad(set_to_none=True)
            loss.backward()
        self.g_optimizer.step()
        found |= {"g_loss": loss.detach(), "saturated": (raw.detach().abs() > SATURATED).float().mean()}
        return fakes.detach(), found

    def generator_terms(self, fakes: Tensor, images: Tensor | None) -> dict[str, tuple[float, Tensor]]:
        """Names to weights and terms of the generator's loss: it descends statistics and divergence from the target's
        attention, and ascends both differences. The model's running statistics stay as they are."""
        h, source = self.hparams, self.given.source
        with Taps(source) as taps:
            frozen_maps, frozen = source(fakes, "both")
            terms = {"bns": (h.bns.weight, self._statistics(taps, len(fakes)))}
        with self.on_fakes(update=False):
            maps, scores = self.model(fakes, "both")
        attended = rows(frozen_maps)
        logs = self.attention.log_maps(attended)
        return terms | {
            "mae": (-h.alpha, output_distance(scores, frozen, h.mae.space, h.mae.reduce)),
            "dad": (-h.beta, self.attention.distance(rows(maps), attended, logs)),
            **self.target_terms(logs, (frozen_maps.shape[2], frozen_maps.shape[3]), images),
        }

    def target_terms(self, logs: Maps, grid: tuple[int, int], images: Tensor | None) -> dict[str, tuple[float, Tensor]]:
        """Further terms of the generator's loss, from the logarithms of the released model's attention maps of generated
        images, whose features have ``grid`` positions."""
        return {}

    @torch.no_grad()
    def _flatness(self, fakes: Tensor) -> dict[str, Tensor]:
        spatial, channel = self.attention.flatness(rows(self.given.source(fakes, "features")))
        return {"spatial_flatness": spatial, "channel_flatness": channel}

    def _statistics(self, taps: Taps, batch: int) -> Tensor:
        h = self.hparams.bns
        found, stored = [], []
        layers = batch_norms(self.given.source)
        for moments, count, (_, layer) in zip(taps.moments(), taps.counts(), layers, strict=True):
            assert layer.running_mean is not None and layer.running_var is not None
            if not (h.skip_1x1 and count == batch):
                found.append(moments)
                stored.append((layer.running_mean, layer.running_var))
        return statistics_loss(found, stored, h.reduce, h.power)

    # The model's step -------------------------------------------------------------------------------------------------

    def agree(self, fakes: Tensor, update: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The model's loss on generated images (Eq. 12), and what to log."""
        h = self.hparams
        with torch.no_grad():
            frozen_maps, frozen = self.given.source(fakes, "both")
        with self.on_fakes(update):
            maps, scores = self.model(fakes, "both")
        mae = output_distance(scores, frozen, h.mae.space, h.mae.reduce)
        dad = self.attention.distance(rows(maps), rows(frozen_maps))
        return h.alpha * mae + h.beta * dad, {"mae": mae.detach(), "dad": dad.detach()}

    @contextmanager
    def on_fakes(self, update: bool) -> Iterator[None]:
        """Within the body the model is as it looks at generated images."""
        if self.hparams.bn.fake_mode == "eval":
            self.model.eval()
            yield
            self.model.train()
        elif update:
            yield
        else:
            with statistics_kept(self.model):
                yield

    @torch.no_grad()
    def fakes(self) -> Tensor:
        """New generated images, without gradients; the generator stays as it is."""
        with statistics_kept(self.generator):
            images: Tensor = self.generator(self._noise())
        return images

    @torch.no_grad()
    def diagnostics(self) -> Mapping[str, NDArray[Any]]:
        """Of the same noise at every record: generated images, uint8 [N, H, W, 3], and the classes that the source model and
        the model see in them, uint8 [N, H, W]."""
        modes = self.generator.training, self.model.training
        self.generator.eval(), self.model.eval()
        noise = torch.randn(SHOWN, self.hparams.g.latent, generator=torch.Generator().manual_seed(0))
        fakes = self.generator(noise.to(self.given.device))
        maps = {
            name: network(fakes).argmax(1) for name, network in (("source", self.given.source), ("model", self.model))
        }
        self.generator.train(modes[0]), self.model.train(modes[1])
        return {
            "generated_images": (255 * fakes.clamp(0, 1)).round().byte().permute(0, 2, 3, 1).cpu().numpy(),
            **{f"generated_{name}": classes.byte().cpu().numpy() for name, classes in maps.items()},
        }

    def _noise(self) -> Tensor:
        noise = torch.randn(self.hparams.batch_size, self.hparams.g.latent, generator=self.noise)
        return noise.to(self.given.device)

    def _measured(self, number: int) -> bool:
        every = self.hparams.log.gradients
        return bool(every) and number % every == 0


def generated_size(shape: tuple[int, int]) -> tuple[int, int]:
    """Height and width of generated images: half of the target's, in steps of 16."""
    height, width = (max(16, side // 2 // 16 * 16) for side in shape)
    return height, width


def _norm(term: Tensor, fakes: Tensor) -> Tensor:
    """The length of a term's gradient at the generated images."""
    (gradient,) = torch.autograd.grad(term, fakes, retain_graph=True)
    length: Tensor = gradient.norm()
    return length
