"""Feature maps of a network: what its convolutions put out, with gradients to the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dfdgbench.networks.base import Network
from dfdgbench.networks.homogenization import scores
from dfdgbench.networks.hooked import Hooked

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def convolutions(network: nn.Module) -> list[nn.Module]:
    """Every convolution, in order of registration: a block's shortcut after its two."""
    return [module for module in network.modules() if isinstance(module, CONVOLUTIONS)]


class FeatureMaps(Hooked):
    """Context manager that reads a network's maps: the normalised images themselves, then what each convolution puts out
    (before normalisation and activation), then the features that enter the classification layer.

    Args:
        places: which of these are read, by index; None for all. 0 is the images, -1 the features.
    """

    network: Network

    def __init__(self, network: Network, places: Sequence[int] | None = None) -> None:
        super().__init__(network)
        self.layers = convolutions(network.featurizer)
        count = len(self.layers) + 2
        self.places = list(range(count)) if places is None else sorted(place % count for place in places)
        self._read: dict[int, Tensor] = {}

    def _hooks(self) -> Iterator[RemovableHandle]:
        for place in self.places:
            if 0 < place <= len(self.layers):
                yield self.layers[place - 1].register_forward_hook(self._reader(place))

    def _forget(self) -> None:
        self._read = {}

    def of(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores [B, K] of normalised images, and the maps, each [B, C, ...], in order."""
        self._read = {}
        features: list[Tensor] = []
        handle = self.network.featurizer.register_forward_hook(lambda *given: features.append(given[2]))
        try:
            logits = scores(self.network, images)
        finally:
            handle.remove()
        whole = {0: images, len(self.layers) + 1: features[0], **self._read}
        return logits, [whole[place] for place in self.places]

    def _reader(self, place: int) -> Callable[[nn.Module, Any, Any], None]:
        def read(module: nn.Module, inputs: Any, output: Any) -> None:
            self._read[place] = output

        return read


def projection(size: int, count: int, generator: torch.Generator) -> Tensor:
    """Random directions [size, count], columns normal and of unit length."""
    drawn = torch.randn(size, count, generator=generator)
    directions: Tensor = drawn / drawn.norm(dim=0, keepdim=True)
    return directions
