"""DMG: domain-specific masks that balance what domains share against what is each one's own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dfdgbench.algorithms.aggregate import CODE, DMG_PAPER, PAPER, Aggregate, require_domains, set_rate
from dfdgbench.algorithms.base import register
from dfdgbench.algorithms.mask_diagnostics import Arrays, mask_arrays, mask_words
from dfdgbench.algorithms.views import Family, View
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import Metrics, PredictorStage
from dfdgbench.errors import ConfigError, listing
from dfdgbench.hparams import PerDataset, case, hparam, log10_uniform
from dfdgbench.losses.masks import SMOOTHING, Reduction, overlap, sparsity, straight_through, thresholded
from dfdgbench.networks.base import Network, NetworkSpec
from dfdgbench.networks.recalibrate import Statistics
from dfdgbench.networks.sites import Sites, require_sites, usual_sites
from dfdgbench.seeds import generator, seed_hash
from dfdgbench.settings import DOMAIN_GENERALISATION

log = logging.getLogger("dfdgbench")
RESNET_STAGES = {"paper": ("layer4",), "script": ("layer3", "layer4")}
"""Sites of a ResNet before its last layer: in the paper, and in the release's scripts (spec D7)."""


class Mask(NamedTuple):
    """What multiplies the units: a domain's soft or hard mask, or ("mean", 0) the mean of all soft ones."""

    kind: Literal["soft", "hard", "mean"]
    domain: int = 0


class MaskedNetwork(Family):
    """A network and, for each site, one vector of logits a source domain.

    Attributes:
        logits: a parameter [D, k] a site; the soft mask is its sigmoid.
    """

    def __init__(
        self, network: Network, sites: Sites, domains: int, init: float | None, random: torch.Generator
    ) -> None:
        super().__init__()
        self.network, self.sites, self.domains = network, sites, domains
        start = [
            torch.rand(domains, units, generator=random) if init is None else torch.full((domains, units), init)
            for units in sites.units
        ]
        self.logits = nn.ParameterList(start)
        for index, values in enumerate(start):
            self.register_buffer(f"start{index}", values.clone())
        self.train(network.training)

    def train(self, mode: bool = True) -> MaskedNetwork:
        super().train(mode)
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):  # masks drop units in its place, in training too
                module.eval()
        return self

    @property
    def start(self) -> list[Tensor]:
        """The logits before the first step, as ``logits``."""
        return [getattr(self, f"start{index}") for index in range(len(self.logits))]

    def soft(self) -> list[Tensor]:
        """Soft masks [D, k], one tensor a site."""
        return [torch.sigmoid(logits) for logits in self.logits]

    def forward(self, images: Tensor, multipliers: Sequence[Tensor], each: bool = False) -> Tensor:
        """Scores [B, K] with one row of the multipliers [B, k] an image; [M, B, K] with ``each`` of M rows on all images."""
        return self.sites.scores_with_each(images, multipliers) if each else self.sites.scores(images, multipliers)

    def sampled(self, images: Tensor, soft: Sequence[Tensor], domains: Tensor, random: torch.Generator) -> Tensor:
        """Scores [B, K], every unit of every image kept with the probability that its own domain's mask gives it."""
        multipliers = []
        for one in soft:
            kept = one[domains]
            drawn = torch.rand(kept.shape, generator=random, device=kept.device)
            multipliers.append(straight_through((drawn < kept).to(kept.dtype), kept))
        scores: Tensor = self(images, multipliers)
        return scores

    def own(self, images: Tensor, soft: Sequence[Tensor], domains: Tensor) -> Tensor:
        """Scores [B, K], every image under its own domain's soft mask."""
        scores: Tensor = self(images, [one[domains] for one in soft])
        return scores

    def under(self, images: Tensor, masks: Sequence[Mask]) -> Tensor:
        """Scores [M, B, K] of all images under each of M masks."""
        rows = [torch.stack([_row(soft, mask) for mask in masks]) for soft in self.soft()]
        scores: Tensor = self(images, rows, each=True)
        return scores

    def together(self, views: Sequence[Any], images: Tensor) -> list[Tensor]:
        masks = list(dict.fromkeys(mask for view in views for mask in view.masks))
        scores = self.under(images, masks)
        return [combined(scores[[masks.index(mask) for mask in view.masks]], view.averaged) for view in views]


def _row(soft: Tensor, mask: Mask) -> Tensor:
    if mask.kind == "mean":
        return soft.mean(0)
    own = soft[mask.domain]
    return own if mask.kind == "soft" else straight_through(thresholded(own), own)


def combined(scores: Tensor, averaged: str) -> Tensor:
    """One prediction from M: the mean of the scores [M, B, K], or the logarithm of the mean of their softmaxes (spec D11)."""
    if len(scores) == 1:
        return scores[0]
    return scores.mean(0) if averaged == "logits" else scores.softmax(-1).mean(0).log()


class MaskView(View):
    """Predict under some masks.

    Args:
        masks: whose predictions are averaged; none where the image's own domain decides (Known-Domain).
        domains: names of the source domains.
        own_validation: whether images of a source's validation split are seen under that domain's hard mask instead,
            as the release chooses its checkpoint (spec D12).
    """

    def __init__(
        self,
        family: Family,
        masks: Sequence[Mask],
        domains: Sequence[str],
        *,
        averaged: str = "logits",
        own_validation: bool = False,
        keeps: bool = False,
    ) -> None:
        super().__init__(family, keeps=keeps)
        self.masks, self.domains, self.averaged, self.own_validation = tuple(masks), domains, averaged, own_validation

    def forward(self, images: Tensor) -> Tensor:
        if not self.masks:
            raise ConfigError(
                "The predictor 'known-domain' takes the mask of the domain that images are from, which has to be one of "
                f"{listing(self.domains)}: it has none for another domain. Say which, or take 'pred-ens' or 'mask-ens'."
            )
        return super().forward(images)

    def answering(self, position: int | None, use: str) -> MaskView | None:
        """The view for images of source domain ``position``, None where no mask is that domain's."""
        if position is None:
            return self if self.masks else None
        if self.own_validation and use == "validation":
            return MaskView(self.family, [Mask("hard", position)], self.domains)
        return self if self.masks else MaskView(self.family, [Mask("soft", position)], self.domains)


@register("DMG", setting=DOMAIN_GENERALISATION, paper=DMG_PAPER)
class DMG(Aggregate):
    """Learn, for each source domain, which units of the last layers to use, and drive these masks apart.

    With p = sigmoid(logits) a mask of each source domain at each site, a training image of domain d has its units multiplied by
    m ~ Bernoulli(p[d]), drawn for each image and unit, gradients passing straight through (u = m forwards, du/dp = 1). Minimised is

        cross-entropy + lambda_iou * sum_sites mean_pairs sIoU(p, q) + lambda_sparsity * sum_sites sum p

    by one optimiser for the network and another for the logits (paper, section 3; spec sections 1 and 2). Predictors, all with soft
    masks: ``pred-ens`` averages the scores of all masks (DMG in the tables), ``mask-ens`` averages the masks, ``known-domain``
    takes the mask of the image's own source domain (NaN on another one), ``mask-NAME`` the mask of the domain NAME on everything.

    The preset ``paper`` is what the paper writes, ``code`` what its release computes; where they disagree (D1 to D19 of the
    specification) there is an option: inverse_unit (D1), mask_epoch_decay (D2), epochs (D3), pair_reduction (D4), smoothing (D5),
    loss_reduction (D6), sites (D7), head_init and head_std (D9, D10), averaged (D11), validation (D12), augmentation (D15); D8 is
    Multi-Headed's, D14 Aggregate-SGD's, the protocol `official` gives in-domain tests (D13), `--seed` and trials are D19, and
    D16 to D18 are slips of the paper that no number depends on.

    Limits: a mask moves by about the learning rate a step, so short runs stay near their random start; the record's
    ``mask_moved`` and the diagnostics say how far it came. Batch normalisation behind a site learns its variance under
    sampled masks and is used under soft ones; ``recalibrate_bn`` adds the predictor ``recalibrated`` to measure what that costs.
    Masks of maps are one factor a channel. A network whose maps have their channels last (Swin) has no sites but its head.
    """

    class Hparams(Aggregate.Hparams):
        sites: str | tuple[str, ...] = hparam(
            "paper",
            doc="what is masked: 'paper' or 'script' (with a ResNet's layer3), or names of modules whose input it is",
        )
        lambda_iou: float = hparam(
            0.1, search=log10_uniform(-5, 0), ge=0, doc="weight of the overlap of the domains' masks"
        )
        lambda_sparsity: float = hparam(
            0.0, ge=0, doc="weight of the masks' L1 norm; the paper's study has lambda_iou=0 with it"
        )
        pair_reduction: Reduction = hparam(
            "mean", doc="overlap over pairs of domains: mean (the release) or sum (the paper)"
        )
        smoothing: float = hparam(SMOOTHING, ge=0, doc="added to intersection and union; the paper has none")
        mask_lr: float = hparam(1e-4, small=case(1e-3), gt=0, doc="learning rate of the mask logits (Adam)")
        mask_weight_decay: float = hparam(
            0.0, by_dataset={"PACS": case(1e-5)}, ge=0, doc="weight decay of the mask logits"
        )
        mask_epoch_decay: bool = hparam(
            False, doc="whether schedules that count epochs reach the mask logits (the paper)"
        )
        mask_init: Literal["uniform"] | float = hparam(
            "uniform", doc="mask logits at the start: U(0, 1), or a number for all"
        )
        averaged: Literal["logits", "probabilities"] = hparam("logits", doc="what pred-ens averages")
        validation: Literal["known-domain", "predictor"] = hparam(
            "known-domain",
            doc="what is scored on sources' validation splits: each domain's own hard mask (the release), or the predictor",
        )
        recalibrate_bn: bool = hparam(
            False,
            doc="also keep batch-normalisation statistics under soft masks: a forward more a step, the predictor recalibrated",
        )

    presets = {
        "paper": {
            **PAPER,
            "pair_reduction": "sum",
            "smoothing": 0.0,
            "mask_epoch_decay": True,
            "sites": "paper",
            "averaged": "probabilities",
            "validation": "predictor",
        },
        "code": {
            **CODE,
            "epochs": PerDataset(50, {"PACS": 150}),
            "pair_reduction": "mean",
            "smoothing": SMOOTHING,
            "mask_epoch_decay": False,
            "sites": "script",
            "averaged": "logits",
            "validation": "known-domain",
        },
    }

    body: MaskedNetwork
    compares_domains = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        require_domains(self._names(), "DMG", 2)
        self.mask_optimizer = torch.optim.Adam(
            self.body.logits.parameters(), lr=self.hparams.mask_lr, weight_decay=self.hparams.mask_weight_decay
        )
        device = self.body.logits[0].device
        self.random = torch.Generator(device).manual_seed(seed_hash(self.seed, "masks"))
        self.statistics = Statistics(self.body.network) if self.hparams.recalibrate_bn else None

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        require_domains([problem.domain_name(domain) for domain in problem.sources], "DMG", 2)
        require_sites(problem.network, named_sites(problem.network, hparams.sites))
        return super().plan(problem, hparams)

    def shaped(self, network: Network) -> nn.Module:
        given, init = self.hparams, self.hparams.mask_init
        names = site_names(network, given.sites)
        sites = Sites(network, names, self.spec.image_size, self.spec.channels)
        start = None if init == "uniform" else float(init)
        return MaskedNetwork(network, sites, self.num_domains, start, generator(self.seed, "mask logits"))

    def network_parameters(self) -> Iterable[nn.Parameter]:
        return self.body.network.parameters()

    def optimizers(self) -> list[Optimizer]:
        return [self.optimizer, self.mask_optimizer]

    def set_rates(self) -> None:
        super().set_rates()
        set_rate(self.mask_optimizer, self.hparams.mask_lr * self.factor(self.hparams.mask_epoch_decay))

    def loss(self, images: Tensor, labels: Tensor, domains: Tensor) -> tuple[Tensor, Metrics]:
        given, soft = self.hparams, self.body.soft()
        class_loss = self.class_loss(self.body.sampled(images, soft, domains, self.random), labels)
        self._recalibrate(images, soft, domains)
        overlaps = torch.stack([overlap(one, given.pair_reduction, given.smoothing) for one in soft]).sum()
        loss = class_loss + given.lambda_iou * overlaps
        if given.lambda_sparsity:
            loss = loss + given.lambda_sparsity * torch.stack([sparsity(one) for one in soft]).sum()
        return loss, {"class_loss": class_loss.detach(), "mask_overlap": overlaps.detach(), "mask_moved": self.moved()}

    @torch.no_grad()
    def moved(self) -> Tensor:
        """How far a mask logit is from its start: the mean over all of them, a scalar."""
        pairs = zip(self.body.logits, self.body.start, strict=True)
        total = torch.stack([(now - start).abs().sum() for now, start in pairs]).sum()
        return total.div(sum(logits.numel() for logits in self.body.logits))

    @torch.no_grad()
    def _recalibrate(self, images: Tensor, soft: Sequence[Tensor], domains: Tensor) -> None:
        if self.statistics is not None:
            with self.statistics.in_use(self.body.network):
                self.body.own(images, soft, domains)

    def predict(self, x: Tensor) -> Tensor:
        return self.body.together([self.predictors()["pred-ens"]], x)[0]

    def predictors(self) -> dict[str, nn.Module]:
        names, options = self._names(), {"own_validation": self.hparams.validation == "known-domain"}
        every = [Mask("soft", index) for index in range(self.num_domains)]
        views: dict[str, nn.Module] = {
            "pred-ens": MaskView(self.body, every, names, averaged=self.hparams.averaged, keeps=True, **options),
            "mask-ens": MaskView(self.body, [Mask("mean")], names, **options),
            "known-domain": MaskView(self.body, [], names, **options),
        }
        views |= {
            f"mask-{name}": MaskView(self.body, [mask], names, **options)
            for name, mask in zip(names, every, strict=True)
        }
        if self.statistics is not None:
            views["recalibrated"] = Recalibrated(self.body, every, self.hparams.averaged, self.statistics)
        return views

    def diagnostics(self) -> Arrays:
        arrays = mask_arrays(self._names(), self.body.sites.names, list(self.body.logits), self.body.start)
        log.info("%s", mask_words(arrays))
        return arrays

    def _names(self) -> tuple[str, ...]:
        return self.domain_names or tuple(map(str, range(self.num_domains)))


class Recalibrated(nn.Module):
    """``pred-ens`` with the batch-normalisation statistics of soft masks: a diagnostic, not the method."""

    def __init__(self, body: MaskedNetwork, masks: Sequence[Mask], averaged: str, statistics: Statistics) -> None:
        super().__init__()
        self.__dict__["body"] = body
        self.masks, self.averaged, self.statistics = tuple(masks), averaged, statistics

    def train(self, mode: bool = True) -> Recalibrated:
        super().train(mode)
        body: MaskedNetwork = self.__dict__["body"]
        body.train(mode)
        return self

    def forward(self, images: Tensor) -> Tensor:
        body: MaskedNetwork = self.__dict__["body"]
        with self.statistics.in_use(body.network):
            return combined(body.under(images, self.masks), self.averaged)


def site_names(network: Network, asked: str | Sequence[str]) -> tuple[str, ...]:
    """The sites that the hyper-parameter ``sites`` asks for."""
    if isinstance(asked, str):
        return usual_sites(network, RESNET_STAGES[asked]) if asked in RESNET_STAGES else (asked,)
    return tuple(asked)


def named_sites(spec: NetworkSpec, asked: str | Sequence[str]) -> tuple[str, ...]:
    """The sites that ``asked`` names itself; ``("head",)``, which every network has, where it leaves them to the network."""
    if isinstance(asked, str):
        return ("head",) if asked in RESNET_STAGES else (asked,)
    return tuple(asked)
