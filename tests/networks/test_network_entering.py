"""Tensors at chosen layers are those that entered or left, whatever is done to them afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfdgbench.networks.base import NetworkSpec, build
from dfdgbench.networks.entering import style_layers
from dfdgbench.networks.norm import batch_norms


@pytest.mark.parametrize("name", ["smallcnn", "mnist_resnet9", "resnet18"])
def test_what_left_a_layer_is_kept_as_it_left(name: str) -> None:
    network = build(NetworkSpec(name, num_classes=3, weights="none", image_size=32), seed=0).eval()
    left: list[Tensor] = []
    for _, layer in batch_norms(network):
        layer.register_forward_hook(lambda _layer, _inputs, output: left.append(output.detach().clone()))
    with style_layers(network, "bn-out") as layers:
        network(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
        found = layers.tensors()
    assert len(found) == len(left) > 3
    assert all(torch.equal(one, other) for one, other in zip(found, left, strict=True))
    assert any(bool((tensor < 0).any()) for tensor in found)
