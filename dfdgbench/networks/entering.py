"""What enters, or leaves, chosen layers of a network in a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dfdgbench.errors import ConfigError
from dfdgbench.networks.hooked import Hooked
from dfdgbench.networks.norm import batch_norms

StyleLayers = Literal["bn-in", "bn-out", "stage-out"]


class Layers(Hooked):
    """Context manager that keeps the tensors at ``layers`` of ``network``, with their gradients, until the next forward.

    Args:
        layers: in the order in which :meth:`tensors` gives theirs; each is passed once a forward.
        leaving: what leaves the layers instead of what enters them.
    """

    def __init__(self, network: nn.Module, layers: Sequence[nn.Module], leaving: bool = False) -> None:
        super().__init__(network)
        self.layers, self.leaving = list(layers), leaving
        self._seen: dict[nn.Module, Tensor] = {}

    def _hooks(self) -> Iterator[RemovableHandle]:
        for layer in self.layers:
            if self.leaving:
                yield layer.register_forward_hook(self._left)
            else:
                yield layer.register_forward_pre_hook(self._entered)

    def _forget(self) -> None:
        self._seen = {}

    def tensors(self) -> list[Tensor]:
        """One a layer; narrower ones widened to float32."""
        return [self._seen[layer].float() for layer in self.layers]

    def _entered(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._seen[layer] = inputs[0]

    def _left(self, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        self._seen[layer] = output.clone()  # a rectifier that follows may write over it


def convolutions(network: nn.Module) -> list[nn.Module]:
    """Every 2-D convolution, in order of registration."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def style_layers(network: nn.Module, which: StyleLayers) -> Layers:
    """The layers whose moments are a style: inputs or outputs of batch normalisations, or outputs of a network's stages."""
    if which != "stage-out":
        return Layers(network, [layer for _, layer in batch_norms(network)], leaving=which == "bn-out")
    featurizer = getattr(network, "featurizer", network)
    stages = [getattr(featurizer, f"layer{i}") for i in range(1, 5) if hasattr(featurizer, f"layer{i}")]
    blocks = getattr(featurizer, "blocks", None)
    stages = stages or (list(blocks.children()) if isinstance(blocks, nn.Sequential) else [])
    if not stages:
        raise ConfigError(
            f"{type(featurizer).__name__} has no stages (layer1 to layer4, or blocks) whose outputs could be a style. Type "
            "--hparam styles.layers=bn-in or bn-out."
        )
    return Layers(network, stages, leaving=True)
