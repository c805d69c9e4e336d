"""Batch normalisation: which layers are there, whether they may be read, and whether they are trained.

Layers are found by type and never by name: DomainBed's 28x28 network calls its group normalisation bn0..bn3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dfdgbench.errors import ConfigError, FrozenBNError, NoBatchNormError, listing

if TYPE_CHECKING:
    from dfdgbench.networks.base import Network

BNPolicy = Literal["live", "frozen"]

_WAYS_OUT = (
    "Train the teacher on a network with batch normalisation (resnet18, resnet50, WRN-16-2, smallcnn), or take "
    "teachers with it."
)


def apply_bn_policy(network: Network, policy: BNPolicy) -> None:
    """Set how batch normalisation behaves in training, now and after every later ``train()``.

    "live" normalises by the batch and updates the running statistics. "frozen" keeps every layer in eval mode: the
    running statistics stay, scale and shift are still trained (DomainBed's ``freeze_bn``).
    """
    if policy not in get_args(BNPolicy):
        allowed = listing(get_args(BNPolicy))
        raise ConfigError(f"The batch-normalisation policy '{policy}' does not exist. Type one of: {allowed}.")
    network.bn_policy = policy
    network.train(network.training)


def batch_norms(module: nn.Module) -> list[tuple[str, _BatchNorm]]:
    """Name and layer of every batch normalisation in ``module``, in order of registration."""
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)]


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Within the body, layers in train mode normalise by the batch as ever, and their running statistics stay as they are."""
    layers = [layer for _, layer in batch_norms(network) if layer.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def check_batch_norm(network: nn.Module, name: str) -> None:
    """Raise ``NoBatchNormError`` where ``network``, called ``name``, has no batch-normalisation statistics to read.

    That is: no such layer, a layer that keeps no running statistics, or one that never saw data
    (``num_batches_tracked`` 0, mean 0 and variance 1).
    """
    model = f"'{name}' ({_model_class(network)})"
    layers = batch_norms(network)
    if not layers:
        raise NoBatchNormError(
            f"The network {model} has no batch normalisation, and its statistics are needed. Normalisation layers "
            f"found: {norm_layers(network)}. {_WAYS_OUT}"
        )
    untracked = [path for path, layer in layers if layer.running_mean is None or layer.running_var is None]
    if untracked:
        raise NoBatchNormError(
            f"The network {model} has batch normalisation that keeps no running statistics "
            f"(track_running_stats=False): {listing(untracked, 5)}. {_WAYS_OUT}"
        )
    unused = [path for path, layer in layers if _never_saw_data(layer)]
    if unused:
        raise NoBatchNormError(
            f"The network {model} has batch normalisation that never saw data (mean 0, variance 1, 0 batches): "
            f"{listing(unused, 5)}. Train it, or load trained weights with `--weights FILE`. {_WAYS_OUT}"
        )


def check_distinct(networks: Mapping[str, nn.Module]) -> None:
    """Raise ``FrozenBNError`` where the networks of two domains carry the same running means and variances.

    Args:
        networks: domain name -> network trained on that domain. Those without batch normalisation are passed over.
    """
    seen: dict[str, str] = {}
    for domain, network in networks.items():
        statistics = [tensor for _, layer in batch_norms(network) for tensor in (layer.running_mean, layer.running_var)]
        held = [tensor for tensor in statistics if tensor is not None]
        if not held:
            continue
        key = _digest(held)
        if key in seen:
            raise FrozenBNError(
                f"The networks of the domains '{seen[key]}' and '{domain}' ({_model_class(network)}) carry identical "
                f"batch-normalisation statistics, so these describe the weights they started from and neither domain. "
                f"Train them with live batch normalisation (`--hparam teacher.freeze_bn=false`)."
            )
        seen[key] = domain


def buffers_digest(network: nn.Module) -> str:
    """Hex sha256 of all buffers of ``network``, names included: equal before and after what must not change them."""
    names, tensors = [], []
    for name, tensor in network.named_buffers():
        names.append(name)
        tensors.append(tensor)
    return hashlib.sha256(("\n".join(names) + _digest(tensors)).encode()).hexdigest()


def _digest(tensors: list[Tensor]) -> str:
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _never_saw_data(layer: _BatchNorm) -> bool:
    assert layer.running_mean is not None and layer.running_var is not None
    batches = layer.num_batches_tracked
    at_start = bool((layer.running_mean == 0).all()) and bool((layer.running_var == 1).all())
    return at_start and (batches is None or int(batches) == 0)


def _model_class(network: nn.Module) -> str:
    return type(getattr(network, "featurizer", network)).__name__


def norm_layers(network: nn.Module) -> str:
    """Path and type of the normalisation layers of other kinds, "none" where there are none."""
    kinds = [(path, type(layer).__name__) for path, layer in network.named_modules()]
    return listing((f"{path} {kind}" for path, kind in kinds if "Norm" in kind), 5) or "none"
