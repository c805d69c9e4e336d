"""MixStyle: mix the statistics of early feature maps between images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.algorithms.stepwise import Minibatch
from dfdgbench.engine.stage import Metrics
from dfdgbench.errors import ConfigError
from dfdgbench.hparams import choice, hparam
from dfdgbench.networks.base import Network
from dfdgbench.networks.sites import require_sites, site_modules
from dfdgbench.settings import DOMAIN_GENERALISATION


@register("MixStyle", setting=DOMAIN_GENERALISATION, paper=Paper("Zhou et al. 2021", arxiv="2104.02008"))
class MixStyle(ERM):
    """ERM whose early feature maps take a mixture of their own channels' means and deviations and another image's.

    In training alone, in half of the steps. In a ResNet, what enters the second and the third stage is mixed, as in the paper;
    in other networks, what enters the second and third of their stages or convolutions.
    """

    class Hparams(ERM.Hparams):
        mixstyle_p: float = hparam(0.5, ge=0, le=1, doc="share of the steps in which styles are mixed")
        mixstyle_alpha: float = hparam(
            0.1, search=choice(0.1, 0.2, 0.3), gt=0, doc="both parameters of the Beta distribution of the weight"
        )
        mixstyle_with: Literal["domain", "any"] = hparam(
            "domain", doc="the other image: of another source domain, or any of the step"
        )
        sites: tuple[str, ...] = hparam((), doc="modules whose inputs are mixed; empty: as the network's kind has it")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = self.hparams.sites or usual_layers(self.network)
        if self.hparams.sites:
            require_sites(self.spec, names)
        modules = site_modules(self.network)
        for name in names:
            modules[name].register_forward_pre_hook(self._mix)
        self._styles: tuple[Tensor, Tensor] | None = None

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        if float(torch.rand(())) < self.hparams.mixstyle_p:
            sizes = [len(labels) for _, labels in minibatches]
            alpha = torch.tensor(self.hparams.mixstyle_alpha)
            shares = torch.distributions.Beta(alpha, alpha).sample((sum(sizes),))
            others = torch.randperm(sum(sizes)) if self.hparams.mixstyle_with == "any" else of_other_domains(sizes)
            self._styles = shares, others
        try:
            return super().update(minibatches)
        finally:
            self._styles = None

    def _mix(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._styles is None:
            return None
        maps, (shares, others) = inputs[0], self._styles
        if maps.ndim != 4:
            raise ConfigError(
                f"MixStyle mixes feature maps, and a {type(module).__name__} of this network gets {maps.ndim - 1} dimensions an "
                "image. Name modules that get maps: --hparam sites='[\"layer2\"]'."
            )
        return (restyled(maps, shares.to(maps), others.to(maps.device)), *inputs[1:])


def restyled(maps: Tensor, shares: Tensor, others: Tensor, eps: float = 1e-6) -> Tensor:
    """Feature maps [B, C, H, W] whose channels' means and deviations are ``shares`` [B] of their own and the rest of those of
    the images ``others`` [B] (Zhou et al. 2021, Eq. 3 to 5). Statistics pass no gradient."""
    mean = maps.mean((2, 3), keepdim=True).detach()
    deviation = maps.var((2, 3), keepdim=True).add(eps).sqrt().detach()
    share = shares.view(-1, 1, 1, 1)
    new_mean = share * mean + (1 - share) * mean[others]
    new_deviation = share * deviation + (1 - share) * deviation[others]
    return (maps - mean) / deviation * new_deviation + new_mean


def of_other_domains(sizes: Sequence[int]) -> Tensor:
    """For every image of the domains' minibatches, laid one after the other, the position of an image of another domain,
    drawn evenly from these; of a domain that is alone, any."""
    domains = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    apart = (domains[:, None] != domains).float()
    if not bool(apart.any()):
        return torch.randperm(len(domains))
    return torch.multinomial(apart, 1)[:, 0]


def usual_layers(network: Network) -> tuple[str, ...]:
    """The modules whose inputs are mixed where nobody names any."""
    modules = site_modules(network)
    if "layer3" in modules:
        return ("layer2", "layer3")
    for stages in ("blocks", "stages", "features"):
        if isinstance(modules.get(stages), nn.Sequential | nn.ModuleList) and len(list(modules[stages].children())) > 2:
            return (f"{stages}.1", f"{stages}.2")
    return tuple(name for name, module in modules.items() if isinstance(module, nn.Conv2d))[1:3]
