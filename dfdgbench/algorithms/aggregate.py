"""Aggregate and Aggregate-SGD: DMG's baselines, one network on images drawn from all source domains at once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from dfdgbench import hparams
from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.stepwise import Minibatch, Stepwise, joined
from dfdgbench.engine.stage import Metrics
from dfdgbench.errors import ConfigError
from dfdgbench.hparams import PerDataset, case, hparam, log2_integer, log10_uniform
from dfdgbench.losses.schedules import exponential, inverse
from dfdgbench.networks.base import Network, build
from dfdgbench.seeds import generator
from dfdgbench.settings import DOMAIN_GENERALISATION

log = logging.getLogger("dfdgbench")
DMG_PAPER = Paper(
    "Chattopadhyay, Balaji and Hoffman 2020, Learning to balance specificity and invariance for in and out of domain "
    "generalization",
    arxiv="2008.12839",
)
PAPER = {"epochs": 50, "inverse_unit": "epoch", "loss_reduction": "sum"}
"""What the paper writes, where its release does something else (spec D1, D3, D6)."""
CODE = {"inverse_unit": "step", "loss_reduction": "mean"}


@register("Aggregate", setting=DOMAIN_GENERALISATION, paper=DMG_PAPER)
class Aggregate(Stepwise):
    """Minimise the mean cross-entropy over images drawn from the union of the sources (DMG's baseline).

    ERM draws the same number of images of each domain, with replacement; here one shuffled loader goes over all of them, so
    that domains count in proportion to their sizes, and the last, smaller batch of a pass is kept. Settings are those of DMG's
    release on PACS and DomainNet. It trains for ``epochs`` where they are given (the presets do) and ``--steps`` is not.

    Limits: the optimiser sees no warm-up, clipping or averaging, as in the release. On other datasets the learning rate is
    constant.
    """

    class Hparams(hparams.Hparams):
        lr: float = hparam(
            1e-4,
            search=log10_uniform(-5, -3.5),
            small=case(1e-3, log10_uniform(-4.5, -2.5)),
            gt=0,
            doc="learning rate before the first step",
        )
        weight_decay: float = hparam(
            0.0, search=log10_uniform(-6, -2), by_dataset={"PACS": case(1e-5)}, ge=0, doc="weight decay"
        )
        batch_size: int = hparam(
            64, search=log2_integer(4, 7), gt=0, doc="images a step (of each domain where sampling is 'domain')"
        )
        sampling: Literal["pooled", "domain"] = hparam(
            "pooled", doc="draw from all sources together, or as ERM the same number from each"
        )
        epochs: int | None = hparam(
            None, gt=0, doc="passes over all sources where --steps is not given; the dataset's steps where neither is"
        )
        schedule: Literal["constant", "exponential", "inverse"] = hparam(
            "constant",
            by_dataset={"PACS": case("exponential"), "DomainNet": case("inverse")},
            doc="learning rate: as it is, times decay after each epoch, or (1 + 1e-4 t)^-0.75",
        )
        decay: float = hparam(0.99, gt=0, le=1, doc="factor of the exponential schedule")
        inverse_unit: Literal["step", "epoch"] = hparam(
            "step", doc="what t of the inverse schedule counts: steps (the release) or epochs (the paper)"
        )
        loss_reduction: Literal["mean", "sum"] = hparam(
            "mean", doc="cross-entropy over a batch: mean (the release) or sum (the paper)"
        )
        head_init: Literal["default", "normal"] = hparam(
            "default",
            by_dataset={"DomainNet": case("normal")},
            doc="the new layer's weights: PyTorch's default, or N(0, head_std) and biases of 0",
        )
        head_std: float = hparam(1e-3, gt=0, doc="standard deviation of the new layer's weights")
        data_augmentation: bool = hparam(True, doc="whether images are augmented, where the dataset has it")
        augmentation: Literal["domainbed", "dmg-pacs", "dmg-domainnet"] = hparam(
            "domainbed",
            by_dataset={"PACS": case("dmg-pacs"), "DomainNet": case("dmg-domainnet")},
            doc="whose augmentation",
        )

    presets = {"paper": PAPER, "code": {**CODE, "epochs": PerDataset(50, {"PACS": 100})}}
    compares_domains: ClassVar[bool] = False
    steps_per_epoch: int = 0
    _told: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.done = 0
        network = build(self.spec, self.seed)
        if self.hparams.head_init == "normal":
            random = generator(self.seed, "head")
            initialise_normal(network.classifier, self.hparams.head_std, random)
        self.body = self.place(self.shaped(network))
        self.optimizer = self.new_optimizer(self.network_parameters())

    def shaped(self, network: Network) -> nn.Module:
        """What is trained and evaluated, made of the run's network before that is put on its device."""
        return network

    def network_parameters(self) -> Iterable[nn.Parameter]:
        """What the network's optimiser moves."""
        yield from self.body.parameters()

    def new_optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """The network's optimiser."""
        return torch.optim.Adam(parameters, lr=self.hparams.lr, weight_decay=self.hparams.weight_decay)

    def factor(self, by_epochs: bool = True) -> float:
        """What the schedule multiplies learning rates by in this step.

        Args:
            by_epochs: whether a schedule that counts epochs holds.
        """
        kind, unit = self.hparams.schedule, self.hparams.inverse_unit
        if kind == "constant" or (not by_epochs and (kind == "exponential" or unit == "epoch")):
            return 1.0
        if kind == "exponential":
            return exponential(self._epochs_done(), 1.0, self.hparams.decay)
        return inverse(self._epochs_done() if unit == "epoch" else self.done, 1.0)

    def _epochs_done(self) -> int:
        if not self.steps_per_epoch:
            raise ConfigError(
                f"The schedule '{self.hparams.schedule}' counts epochs, and how many steps an epoch has was not said. Set the "
                "algorithm's steps_per_epoch, or take schedule='constant'."
            )
        return self.done // self.steps_per_epoch

    def set_rates(self) -> None:
        """Give every optimiser the learning rate of this step."""
        set_rate(self.optimizer, self.hparams.lr * self.factor())

    def loss(self, images: Tensor, labels: Tensor, domains: Tensor) -> tuple[Tensor, Metrics]:
        """What is minimised on images [B, C, H, W] of ``domains`` [B] (numbers of sources), and further metrics."""
        return self.class_loss(self.body(images), labels), {}

    def class_loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of scores [B, K]."""
        return functional.cross_entropy(scores, labels, reduction=self.hparams.loss_reduction)

    def optimizers(self) -> list[Optimizer]:
        """Every optimiser; all are zeroed and stepped on the same loss."""
        return [self.optimizer]

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        """One step on one minibatch of every source domain, some of which may be empty."""
        images, labels, domains = self.together(minibatches)
        self.set_rates()
        loss, metrics = self.loss(images, labels, domains)
        for optimizer in self.optimizers():
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.optimizers():
            optimizer.step()
        self.done += 1
        return {"loss": loss.detach(), **metrics}

    def together(self, minibatches: Sequence[Minibatch]) -> tuple[Tensor, Tensor, Tensor]:
        """Images, labels and each image's source domain. ``ConfigError`` for too few or too many minibatches."""
        if len(minibatches) != self.num_domains:
            raise ConfigError(
                f"{type(self).__name__} was made for {self.num_domains} source domains and was given {len(minibatches)} "
                "minibatch(es). Give one of each domain, an empty one where a batch holds nothing of it."
            )
        images, labels = joined(minibatches)
        if not len(images):
            raise ConfigError("Every minibatch of the step is empty. Give at least one image.")
        sizes = [len(labels) for _, labels in minibatches]
        if self.compares_domains and sizes.count(0) == len(sizes) - 1 and not self._told:
            self._told = True
            log.warning(
                "%s: a batch of %d images held one of the %d source domains alone; such a step says nothing of the others. "
                "Raise batch_size, or give --hparam sampling=domain. (Said once.)",
                type(self).__name__,
                len(images),
                len(sizes),
            )
        domains = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        return images, labels, domains.to(images.device)

    def predict(self, x: Tensor) -> Tensor:
        scores: Tensor = self.body(x)
        return scores

    def predictors(self) -> dict[str, nn.Module]:
        return {"default": self.body}


@register("Aggregate-SGD", setting=DOMAIN_GENERALISATION, paper=DMG_PAPER)
class AggregateSGD(Aggregate):
    """Aggregate with stochastic gradient descent in Adam's place (a row of DMG's DomainNet tables).

    The paper gives no setting of it and its release refuses every optimiser but Adam (spec D14): learning rate 1e-3, momentum
    0.9 and weight decay 5e-5 are chosen here, the schedule is Aggregate's. So its numbers are no reproduction.
    """

    class Hparams(Aggregate.Hparams):
        lr: float = hparam(
            1e-3,
            search=log10_uniform(-4, -2),
            small=case(1e-2, log10_uniform(-3, -1)),
            gt=0,
            doc="learning rate before the first step; chosen here",
        )
        momentum: float = hparam(0.9, ge=0, lt=1, doc="momentum; chosen here")
        weight_decay: float = hparam(5e-5, search=log10_uniform(-6, -2), ge=0, doc="weight decay; chosen here")

    def new_optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        given = self.hparams
        return torch.optim.SGD(parameters, lr=given.lr, momentum=given.momentum, weight_decay=given.weight_decay)


def initialise_normal(layers: nn.Module, std: float, random: torch.Generator) -> None:
    """Weights N(0, ``std`` squared) and biases of 0, in every linear layer of ``layers``."""
    for layer in layers.modules():
        if isinstance(layer, nn.Linear):
            with torch.no_grad():
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=random) * std)
                layer.bias.zero_()


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every group of ``optimizer`` the learning rate ``rate``."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def require_domains(names: Sequence[str], method: str, count: int) -> None:
    """``ConfigError`` where a method that compares domains has fewer than ``count`` sources."""
    if len(names) < count:
        raise ConfigError(
            f"{method} needs {count} source domains or more and has {len(names)} ({', '.join(names)}). Leave fewer domains out "
            "by --test-envs, give --train-envs more of them, or take --algorithm Aggregate."
        )
