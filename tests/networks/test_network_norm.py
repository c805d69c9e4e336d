"""Batch normalisation: policy, the networks that are refused, and frozen teachers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dfdgbench.errors import ConfigError, FrozenBNError, NoBatchNormError
from dfdgbench.networks.base import Network, NetworkSpec, build
from dfdgbench.networks.norm import apply_bn_policy, batch_norms, buffers_digest, check_batch_norm, check_distinct


def network(name: str = "smallcnn", seed: int = 0) -> Network:
    return build(NetworkSpec(name, 4, weights="none", image_size=32), seed)


def trained(seed: int = 0) -> Network:
    """A network whose statistics have seen one batch."""
    made = network(seed=seed).train()
    made(torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(seed)))
    return made.eval()


def step(made: Network) -> None:
    """One training step with every layer's train flag as ``train()`` leaves it."""
    optimiser = torch.optim.SGD(made.train().parameters(), lr=0.1)
    made(torch.rand(8, 3, 32, 32)).square().sum().backward()
    optimiser.step()


def test_frozen_keeps_statistics_and_trains_scale_and_shift() -> None:
    made = trained()
    apply_bn_policy(made, "frozen")
    statistics, scales = buffers_digest(made), [layer.weight.clone() for _, layer in batch_norms(made)]
    for _ in range(2):
        step(made)
        made.eval()
    made.train(True)
    assert made.training
    assert made.featurizer.training
    assert not any(layer.training for _, layer in batch_norms(made))
    assert buffers_digest(made) == statistics
    assert all(not torch.equal(old, layer.weight) for old, (_, layer) in zip(scales, batch_norms(made), strict=True))


def test_live_updates_statistics_and_can_be_restored() -> None:
    made = trained()
    apply_bn_policy(made, "frozen")
    apply_bn_policy(made, "live")
    assert not made.training
    before = buffers_digest(made)
    step(made)
    assert all(layer.training for _, layer in batch_norms(made))
    assert buffers_digest(made) != before


def test_policy_acts_at_once_and_survives_a_copy() -> None:
    made = network().train()
    apply_bn_policy(made, "frozen")
    assert not any(layer.training for _, layer in batch_norms(made))
    assert not any(layer.training for _, layer in batch_norms(copy.deepcopy(made).train()))


def test_unknown_policy() -> None:
    with pytest.raises(ConfigError, match=r"'frosted'.*live, frozen"):
        apply_bn_policy(network(), "frosted")  # type: ignore[arg-type]


def test_layers_come_in_order_of_registration() -> None:
    names = [name for name, _ in batch_norms(network())]
    assert names == ["featurizer.1", "featurizer.4", "featurizer.8", "featurizer.12"]
    assert len(batch_norms(build(NetworkSpec("resnet50", 4, weights="none"), 0))) == 53
    assert len(batch_norms(network("WRN-16-2"))) == 13


def test_usable_networks_pass() -> None:
    check_batch_norm(trained(), "teacher")
    never_stepped = network()
    for _, layer in batch_norms(never_stepped):
        assert layer.running_mean is not None
        layer.running_mean.fill_(0.1)  # published weights may carry statistics and a count of 0
    check_batch_norm(never_stepped, "teacher")


@pytest.mark.parametrize(
    ("name", "found"),
    [("MNIST_CNN", "featurizer.bn0 GroupNorm"), ("alexnet", "none"), ("timm:vit_tiny_patch16_224", "LayerNorm")],
)
def test_networks_without_batch_norm(name: str, found: str) -> None:
    size = 64 if name == "alexnet" else 32
    made = build(NetworkSpec(name, 4, weights="none", image_size=size), 0)
    with pytest.raises(NoBatchNormError) as caught:
        check_batch_norm(made, name)
    for part in (name, type(made.featurizer).__name__, found, "resnet18", "teachers with it"):
        assert part in str(caught.value)


def test_instance_norm_is_not_batch_norm() -> None:
    with pytest.raises(NoBatchNormError, match="1 InstanceNorm2d"):
        check_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, track_running_stats=True)), "net")


def test_untracked_statistics() -> None:
    with pytest.raises(NoBatchNormError, match="track_running_stats=False"):
        check_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), "net")


def test_statistics_that_never_saw_data() -> None:
    made = trained()
    made.featurizer[4].reset_running_stats()
    with pytest.raises(NoBatchNormError, match=r"never saw data.*featurizer\.4\b"):
        check_batch_norm(made, "teacher")


def test_frozen_teachers_are_found() -> None:
    start = trained()
    photo, sketch = copy.deepcopy(start), copy.deepcopy(start)
    for teacher in (photo, sketch):
        apply_bn_policy(teacher, "frozen")
        step(teacher)
    assert not torch.equal(photo.classifier.weight, sketch.classifier.weight)
    with pytest.raises(FrozenBNError, match=r"'photo' and 'sketch'.*identical"):
        check_distinct({"photo": photo, "art": trained(1), "sketch": sketch})


def test_live_teachers_and_networks_without_batch_norm_pass() -> None:
    plain = network("MNIST_CNN")
    check_distinct({"photo": trained(0), "sketch": trained(1), "art": plain, "cartoon": plain})


def test_digest_sees_every_buffer() -> None:
    made = trained()
    before = buffers_digest(made)
    made(torch.rand(2, 3, 32, 32))
    assert buffers_digest(made) == before
    made.featurizer[1].num_batches_tracked += 1
    assert buffers_digest(made) != before
