"""A second head on an earlier layer, as methods of several levels train it (AdaptSegNet, ADVENT, MaxSquare)."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from dfdgbench.errors import ConfigError, listing
from dfdgbench.networks.base import NETWORKS, NetworkSpec, architecture

Tapped = tuple[Tensor, Tensor]
"""Maps of the last layer, and of an earlier one."""


class TappedSequential(nn.Sequential):
    """Layers one after the other, to what the last one makes and what the one called ``tap`` makes, (maps, earlier maps)."""

    def __init__(self, layers: Iterable[tuple[str, nn.Module]], tap: str) -> None:
        super().__init__()
        for name, layer in layers:
            self.add_module(name, layer)
        self.tap = tap

    def forward(self, images: Tensor) -> Tapped:
        """Both maps."""
        maps, earlier = images, images
        for name, layer in self.named_children():
            maps = layer(maps)
            if name == self.tap:
                earlier = maps
        return maps, earlier


class TwoHeads(nn.Module):
    """A classifier of the last layer's maps, and an auxiliary one of an earlier layer's, which only training looks at.

    Args:
        main, auxiliary: each from its maps to score maps [B, K, h, w]; ``auxiliary`` None: left out.
    """

    def __init__(self, main: nn.Module, auxiliary: nn.Module | None) -> None:
        super().__init__()
        self.main, self.auxiliary = main, auxiliary

    def forward(self, encoded: Tapped) -> Tensor:
        """The main scores."""
        scores: Tensor = self.main(encoded[0])
        return scores


def require_two_levels(spec: NetworkSpec, method: str) -> None:
    """Raise ``ConfigError`` where the network has no second head, which ``method`` asks for by ``levels=2``."""
    if _levels(spec.name) < 2:
        fitting = listing(name for name in NETWORKS.names() if _levels(name) > 1)
        raise ConfigError(
            f"{method}: levels=2 trains a network's second head, and '{spec.name}' has one head. Type --network with one of: "
            f"{fitting}; or --hparam levels=1."
        )


def _levels(name: str) -> int:
    return int(getattr(architecture(name), "levels", 1)) if not name.endswith(":NAME") else 1
