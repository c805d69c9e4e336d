"""A network that is only looked through: quicker copies of it, which compute the same to rounding."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterator

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dfdgbench.networks.base import Network
from dfdgbench.networks.maps import convolutions

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Affine(nn.Module):
    """Batch normalisation in eval mode as what it then is: ``scale * maps + shift`` per channel of [B, C, ...].

    Its gradient is one product, where that of ``nn.BatchNorm2d`` looks through maps and gradient for those of its parameters.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.affine:
            scale = scale * norm.weight
        shift = -norm.running_mean * scale
        if norm.affine:
            shift = shift + norm.bias
        self.register_buffer("scale", scale.detach())
        self.register_buffer("shift", shift.detach())

    def forward(self, maps: Tensor) -> Tensor:
        """The normalised maps."""
        shape = (-1,) + (1,) * (maps.ndim - 2)
        return torch.addcmul(self.shift.view(shape), maps, self.scale.view(shape))


@torch.no_grad()
def frozen(network: Network, places: Collection[int] = ()) -> Network:
    """A copy of ``network`` in eval mode, without gradients to its parameters, for many passes forward and back to the images.

    Batch normalisation becomes part of the convolution before it, or is an :class:`Affine` where the convolution's own output is
    read; on a CPU, convolutions have their channels last. A network that cannot be traced keeps its layers.

    Args:
        places: which maps are read of it, as :class:`~dfdgbench.networks.maps.FeatureMaps` counts them.
    """
    made = copy.deepcopy(network).eval().requires_grad_(False)
    made.__dict__.pop("forward", None)  # a narrower precision's, which would call the original
    layers = convolutions(made.featurizer)
    read = {id(layers[place - 1]) for place in places if 0 < place <= len(layers)}
    for before, after in list(_normalised(made.featurizer)):
        layer, norm = made.featurizer.get_submodule(before), made.featurizer.get_submodule(after)
        if id(layer) in read:
            _put(made.featurizer, after, Affine(norm))  # type: ignore[arg-type]
        else:
            fused = fuse_conv_bn_eval(layer, norm)  # type: ignore[type-var, arg-type]
            _put(made.featurizer, before, fused.requires_grad_(False))
            _put(made.featurizer, after, nn.Identity())
    if made.mean.device.type == "cpu":
        made.featurizer.to(memory_format=torch.channels_last)
    return made


def _normalised(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of convolutions and of the batch normalisation that alone uses what they put out; both are used once."""
    try:
        graph = fx.Tracer().trace(module)
    except Exception:  # whatever a network does that cannot be traced: it stays as it is
        return
    uses = Counter(node.target for node in graph.nodes if node.op == "call_module")
    kinds = {node: type(module.get_submodule(str(node.target))) for node in graph.nodes if node.op == "call_module"}
    for node, kind in kinds.items():
        entering = node.args[0] if node.args else None
        if not issubclass(kind, _NORMS) or not isinstance(entering, fx.Node):
            continue
        norm = module.get_submodule(str(node.target))
        fits = issubclass(kinds.get(entering, nn.Module), (nn.Conv1d, nn.Conv2d, nn.Conv3d))
        alone = len(entering.users) == 1 and uses[node.target] == uses[entering.target] == 1
        if fits and alone and norm.running_mean is not None:
            yield str(entering.target), str(node.target)


def _put(module: nn.Module, name: str, child: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, child)
