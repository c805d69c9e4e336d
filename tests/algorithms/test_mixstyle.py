"""MixStyle: statistics by hand, where and when it mixes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dfdgbench.algorithms.mixstyle import MixStyle, of_other_domains, restyled, usual_layers
from dfdgbench.errors import ConfigError
from dfdgbench.networks.base import NetworkSpec, build

SPEC = NetworkSpec("smallcnn", 2, image_size=28)


def made(**hparams: Any) -> MixStyle:
    given = {"lr": 1e-3, "weight_decay": 0.0, "batch_size": 4, **hparams}
    return MixStyle((3, 28, 28), 2, 2, given, network=SPEC, seed=0)


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    return [(torch.rand(4, 3, 28, 28, generator=random), torch.tensor([0, 1, 0, 1])) for _ in range(2)]


def test_statistics_are_weighted_means_of_two_images() -> None:
    maps = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    shares, others = torch.tensor([1.0, 0.0, 0.25], dtype=torch.float64), torch.tensor([1, 2, 0])
    found = restyled(maps, shares, others, eps=0.0)
    mean, deviation = maps.mean((2, 3)), maps.var((2, 3)).sqrt()
    torch.testing.assert_close(found[0], maps[0])  # all its own
    torch.testing.assert_close(found.mean((2, 3))[1], mean[2])  # all the other's
    torch.testing.assert_close(found.mean((2, 3))[2], 0.25 * mean[2] + 0.75 * mean[0])
    torch.testing.assert_close(found.var((2, 3)).sqrt()[2], 0.25 * deviation[2] + 0.75 * deviation[0])


def test_statistics_pass_no_gradient() -> None:
    maps = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    shares, others = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([1, 0])
    (gradient,) = torch.autograd.grad(restyled(maps, shares, others)[0].sum(), maps)
    assert gradient[1].abs().sum() == 0
    deviation = maps.var((2, 3)).add(1e-6).sqrt()[:, 0]
    assert torch.allclose(gradient[0], (0.5 * (deviation[0] + deviation[1]) / deviation[0]).expand(1, 3, 3))


def test_others_are_of_other_domains() -> None:
    sizes = [3, 1, 4]
    domains = torch.arange(3).repeat_interleave(torch.tensor(sizes))
    seen = set()
    for seed in range(40):
        torch.manual_seed(seed)
        others = of_other_domains(sizes)
        assert bool((domains[others] != domains).all())
        seen.add(int(others[0]))
    assert seen == {3, 4, 5, 6, 7}
    assert sorted(of_other_domains([4]).tolist()) == [0, 1, 2, 3]


def test_it_mixes_in_training_steps_alone() -> None:
    plain, mixed = made(mixstyle_p=0.0), made(mixstyle_p=1.0)
    images = batches()[0][0]
    assert torch.equal(plain.predict(images), mixed.predict(images))  # predictions are not mixed, in train mode either
    losses = [float(algorithm.update(batches())["loss"]) for algorithm in (plain, mixed)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("resnet18", ("layer2", "layer3")),
        ("efficientnet_lite0", ("blocks.1", "blocks.2")),
        ("smallcnn", ("3", "7")),
    ],
)
def test_where_it_mixes(network: str, expected: tuple[str, ...]) -> None:
    assert usual_layers(build(NetworkSpec(network, 2, weights="none", image_size=32), 0)) == expected


def test_a_wrong_site_is_told() -> None:
    with pytest.raises(ConfigError, match=r"no mask site 'layer2'"):
        made(sites=("layer2",))
    with pytest.raises(
        ConfigError, match=r"MixStyle mixes feature maps, and a Linear of this network gets 1 dimensions"
    ):
        made(sites=("head",), mixstyle_p=1.0).update(batches())
