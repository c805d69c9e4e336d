"""Sites: places in a network where what enters a module is multiplied, unit by unit.

A site is named by the module whose input it is, as torchvision and timm name it ("layer4", "classifier.1", "blocks.6");
"head" is the classification layer of every network. Units are the features of a vector [B, k] or of tokens [B, N, k], and the
channels of a map [B, k, H, W]. Any module will do that is called once a forward and takes a tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from dfdgbench.errors import ConfigError, listing, near
from dfdgbench.networks.base import Network, NetworkSpec, build

HEAD = "head"
_ALEXNET = {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}


def site_modules(network: Network) -> dict[str, nn.Module]:
    """Every name that a site may have, and its module."""
    named = {name: module for name, module in network.featurizer.named_modules() if name}
    aliases = {name: named[module] for name, module in _ALEXNET.items() if _ALEXNET["fc8"] in named}
    return {**named, **aliases, HEAD: network.classifier}


def usual_sites(network: Network, resnet_stages: Sequence[str] = ("layer4",)) -> tuple[str, ...]:
    """The sites of a network that its user names none for: the inputs of its last stage and of its classification layer.

    AlexNet has its three fully connected layers instead (DMG, section 4).

    Args:
        resnet_stages: the sites of a ResNet before its classification layer.
    """
    known = site_modules(network)
    if "fc6" in known:
        return tuple(_ALEXNET.values())
    if "layer4" in known:
        return (*resnet_stages, "fc" if "fc" in known else HEAD)
    for stages in ("blocks", "stages"):
        if isinstance(known.get(stages), nn.Sequential | nn.ModuleList):
            return (f"{stages}.{len(list(known[stages].children())) - 1}", HEAD)
    convolutions = [name for name, module in known.items() if isinstance(module, nn.Conv2d)]
    # A single one embeds patches, at the beginning.
    return (convolutions[-1], HEAD) if len(convolutions) > 1 else (HEAD,)


def require_sites(spec: NetworkSpec, names: Sequence[str]) -> None:
    """``ConfigError`` for a site that the network has not; nothing is downloaded."""
    _find(spec.name, _known_names(replace(spec, weights="none")), names)


@lru_cache(maxsize=16)
def _known_names(spec: NetworkSpec) -> tuple[str, ...]:
    return tuple(site_modules(build(spec, seed=0)))


def _find(network: str, known: Sequence[str], names: Sequence[str]) -> None:
    absent = [name for name in names if name not in known]
    if not absent and names:
        return
    brief = [name for name in known if name.count(".") < 2]
    meant = [found for name in absent for found in near(name, known)]
    raise ConfigError(
        f"The network '{network}' has no mask site {listing(map(repr, absent)) or '(none was named)'}."
        + (f" Did you mean {' or '.join(meant)}?" if meant else "")
        + f" Its sites, each the input of a module: {listing(brief, 60)}. Type for example --hparam "
        f"""sites='["{brief[-1]}"]'."""
    )


class Sites:
    """The sites called ``names`` of a network that is not yet compiled; they stay until the network goes.

    Args:
        image_size, channels: of the images that the network sees.

    Attributes:
        names: in the order in which a forward reaches them.
        units: the number k of each.
        cuts: whether all that comes after the first site depends on it alone, so that what comes before can be
            computed once for several multipliers.
    """

    def __init__(self, network: Network, names: Sequence[str], image_size: int, channels: int = 3) -> None:
        known = site_modules(network)
        _find(type(network.featurizer).__name__, list(known), names)
        self.network = network
        self._reached: list[tuple[str, tuple[int, ...]]] = []
        self._multipliers: dict[str, Tensor] | None = None
        for name in dict.fromkeys(names):
            known[name].register_forward_pre_hook(self._hook(name))
        images = torch.zeros(2, channels, image_size, image_size)
        mode = network.training
        network.eval()
        self._look(images, names)
        self.names = tuple(name for name, _ in self._reached)
        self.units = tuple(_units(shape) for _, shape in self._reached)
        self.cuts = self._is_cut(images)
        network.train(mode)

    def scores(self, images: Tensor, multipliers: Sequence[Tensor]) -> Tensor:
        """Scores [B, K], row i of each site's multiplier [B, k] applied to image i."""
        with self._given(multipliers):
            scores: Tensor = self.network(images)
        return scores

    def scores_with_each(self, images: Tensor, multipliers: Sequence[Tensor]) -> Tensor:
        """Scores [M, B, K] of all images under each of M multipliers, given as [M, k] a site.

        What comes before the first site is computed once, where the sites cut the network.
        """
        count = len(multipliers[0])
        if not self.cuts:
            rows = [[one[i : i + 1].expand(len(images), -1) for one in multipliers] for i in range(count)]
            return torch.stack([self.scores(images, each) for each in rows])
        with self._given([one.repeat_interleave(len(images), 0) for one in multipliers]):
            scores: Tensor = self.network(images)
        return scores.view(count, len(images), -1)

    @contextmanager
    def _given(self, multipliers: Sequence[Tensor]) -> Iterator[None]:
        self._multipliers = dict(zip(self.names, multipliers, strict=True))
        try:
            yield
        finally:
            self._multipliers = None

    def _hook(self, name: str) -> Any:
        def enter(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            if self._multipliers is None:
                return None
            return (self._multiplied(inputs[0], self._multipliers[name]), *inputs[1:])

        return enter

    def _multiplied(self, entered: Tensor, multiplier: Tensor) -> Tensor:
        """``entered`` times one row of ``multiplier`` each; repeated first where there are more rows than images."""
        if len(multiplier) > len(entered):
            entered = entered.repeat(len(multiplier) // len(entered), *(1,) * (entered.ndim - 1))
        factors = multiplier.to(entered.dtype)
        if entered.ndim == 3:
            return entered * factors[:, None]
        return entered * factors.view(*factors.shape, *(1,) * (entered.ndim - 2))

    @torch.no_grad()
    def _look(self, images: Tensor, names: Sequence[str]) -> None:
        """Where a forward meets the sites, and what enters them."""
        known = site_modules(self.network)

        def meet(name: str) -> Any:
            def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
                if not inputs or not isinstance(inputs[0], Tensor) or inputs[0].ndim not in (2, 3, 4):
                    raise ConfigError(
                        f"What enters '{name}' is no batch of vectors, tokens or maps, so it is no mask site."
                    )
                self._reached.append((name, tuple(inputs[0].shape)))

            return note

        handles = [known[name].register_forward_pre_hook(meet(name)) for name in dict.fromkeys(names)]
        try:
            self.network(images)
        finally:
            for handle in handles:
                handle.remove()
        reached = [name for name, _ in self._reached]
        odd = [name for name in dict.fromkeys(names) if reached.count(name) != 1]
        if odd:
            raise ConfigError(
                f"A mask site must be passed once in a forward of {type(self.network.featurizer).__name__}: "
                f"{', '.join(f'{name} is passed {reached.count(name)} times' for name in odd)}. Name other sites."
            )

    @torch.no_grad()
    def _is_cut(self, images: Tensor) -> bool:
        # Three times two images after the first site: whatever goes around it has two, and does not fit.
        ones = [torch.ones(3, units) for units in self.units]
        self.cuts = True
        try:
            return self.scores_with_each(images, ones).shape[:2] == (3, len(images))
        except (RuntimeError, ValueError):
            return False


def _units(shape: tuple[int, ...]) -> int:
    return shape[2] if len(shape) == 3 else shape[1]
