"""What enters, or leaves, chosen layers of a network in a forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dfdgbench.errors import ConfigError
from dfdgbench.networks.norm import batch_norms

StyleLayers = Literal["bn-in", "bn-out", "stage-out"]


class Layers:
    """Context manager that keeps the tensors at ``layers`` of ``network``, with their gradients, until the next forward.

    Args:
        layers: in the order in which :meth:`tensors` gives theirs; each is passed once a forward.
        leaving: what leaves the layers instead of what enters them.
    """

    def __init__(self, network: nn.Module, layers: Sequence[nn.Module], leaving: bool = False) -> None:
        self.network, self.layers, self.leaving = network, list(layers), leaving
        self._seen: dict[nn.Module, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        self._compiled: Any = None

    def __enter__(self) -> Layers:
        # A compiled network does not run hooks of its layers; inside the context it is run as written.
        self._compiled = getattr(self.network, "_compiled_call_impl", None)
        self.network._compiled_call_impl = None
        for layer in self.layers:
            if self.leaving:
                self._handles.append(layer.register_forward_hook(self._left))
            else:
                self._handles.append(layer.register_forward_pre_hook(self._entered))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self.network._compiled_call_impl = self._compiled
        self._handles, self._seen = [], {}

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
