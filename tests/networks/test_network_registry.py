"""What every registered network keeps, and how names are looked up."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dfdgbench.errors import ConfigError, UnknownNameError
from dfdgbench.networks.base import (
    IMAGENET_MEAN,
    NETWORKS,
    Architecture,
    Classifier,
    NetworkSpec,
    architecture,
    build,
    resolve,
)

NAMES = [component.example or name for name, component in NETWORKS.items() if component.task == "classification"]
SIZE = 64


def random_spec(name: str, **options: object) -> NetworkSpec:
    return NetworkSpec(**{"name": name, "num_classes": 5, "weights": "none", "image_size": SIZE} | options)


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    known = architecture(name)
    assert isinstance(known, Architecture)
    assert known.description and "\n" not in known.description
    assert known.pretrained is None or known.pretrained in known.tags()
    network = build(random_spec(name), seed=0).eval()
    images = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        features, logits = network.features(images), network(images)
    assert features.shape == (2, network.n_features)
    assert logits.shape == (2, 5)
    assert torch.isfinite(logits).all()
    assert torch.equal(network.classifier(features), logits)


@pytest.mark.parametrize("name", NAMES)
def test_other_channels(name: str) -> None:
    network = build(random_spec(name, channels=2), seed=0).eval()
    assert network(torch.rand(2, 2, SIZE, SIZE)).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "channels", "expected"),
    [
        ("MNIST_CNN", 1, 370_560),
        ("MNIST_CNN", 2, 371_136),
        ("MNIST_CNN", 3, 371_712),
        ("WRN-16-2", 3, 691_520),
        ("resnet18", 3, 11_176_512),
        ("resnet50", 3, 23_508_032),
        ("resnet50_augmix", 3, 23_508_032),
        ("efficientnet_lite0", 3, 4_652_008 - 1281 * 1000),
    ],
)
def test_parameter_counts(name: str, channels: int, expected: int) -> None:
    featurizer = build(random_spec(name, channels=channels), seed=0).featurizer
    assert sum(parameter.numel() for parameter in featurizer.parameters()) == expected


def test_small_networks_take_their_image_sizes() -> None:
    for name, sizes in {"smallcnn": (28, 32, 64), "MNIST_CNN": (28,), "WRN-16-2": (32,)}.items():
        for size in sizes:
            network = build(random_spec(name, image_size=size), seed=0)
            assert network(torch.rand(2, 3, size, size)).shape == (2, 5)


def test_smallcnn_maps_halve_three_times() -> None:
    featurizer = build(random_spec("smallcnn"), seed=0).featurizer
    assert isinstance(featurizer, nn.Sequential)
    sizes, maps = [], torch.rand(1, 3, 32, 32)
    for layer in featurizer:
        maps = layer(maps)
        sizes += [maps.shape[-1]] if isinstance(layer, nn.Conv2d) else []
    assert sizes == [16, 16, 8, 4]


def test_group_norm_follows_relu_in_the_mnist_network() -> None:
    featurizer = build(random_spec("MNIST_CNN"), seed=0).featurizer
    seen = []
    featurizer.bn0.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    featurizer(torch.randn(2, 3, 28, 28))
    assert isinstance(featurizer.bn0, nn.GroupNorm)
    assert featurizer.bn0.num_groups == 8
    assert seen[0].min() >= 0


@pytest.mark.parametrize(
    ("size", "expected"), [(28, "MNIST_CNN"), (32, "WRN-16-2"), (64, "resnet50"), (224, "resnet50")]
)
def test_auto_picks_by_image_size(size: int, expected: str) -> None:
    assert resolve("auto", size) == expected
    assert resolve("resnet18", size) == "resnet18"


def test_auto_is_built() -> None:
    assert build(random_spec("auto", image_size=28), seed=0).n_features == 128


def test_unknown_timm_name_suggests_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean timm:resnet50"):
        architecture("timm:resnt50")
    with pytest.raises(UnknownNameError, match=r"no weights 'nope'.*a1_in1k"):
        architecture("timm:resnet50.nope")


@pytest.mark.parametrize("name", ["timm", "timm:NAME"])
def test_the_family_itself_is_no_network(name: str) -> None:
    with pytest.raises(UnknownNameError, match="timm:resnet18"):
        architecture(name)


def test_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean resnet50"):
        architecture("resnet5")


def test_a_network_may_live_in_another_module() -> None:
    assert architecture("dfdgbench.networks.smallcnn:SmallCNNArchitecture").name.endswith("SmallCNNArchitecture")


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"channels": 0}, {"image_size": 0}, {"dropout": 1.0}])
def test_impossible_specs(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        random_spec("smallcnn", **options)


def test_same_seed_same_network_and_no_global_generator_moves() -> None:
    before = torch.get_rng_state()
    one, same, other = (build(random_spec("WRN-16-2"), seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])
    assert not torch.equal(one["featurizer.conv1.weight"], other["featurizer.conv1.weight"])


def test_a_network_does_not_depend_on_the_global_generator() -> None:
    torch.manual_seed(1)
    one = build(random_spec("smallcnn"), seed=0)
    torch.manual_seed(2)
    assert torch.equal(one.classifier.weight, build(random_spec("smallcnn"), seed=0).classifier.weight)


def test_normalisation_belongs_to_the_network() -> None:
    network = build(random_spec("resnet18"), seed=0)
    torch.testing.assert_close(network.mean, torch.tensor(IMAGENET_MEAN))
    assert {"mean", "std"} <= set(network.state_dict())
    seen = []
    network.featurizer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(network.mean.view(1, 3, 1, 1).expand(2, 3, SIZE, SIZE))
    assert seen[0].abs().max() == 0


def test_normalisation_of_other_channels_is_cyclic() -> None:
    mean = build(random_spec("resnet18", channels=4), seed=0).mean
    torch.testing.assert_close(mean, torch.tensor([*IMAGENET_MEAN, IMAGENET_MEAN[0]]))


def test_dropout_acts_on_features_in_training_only() -> None:
    network = build(random_spec("smallcnn", dropout=0.9), seed=0)
    images = torch.rand(8, 3, 32, 32)
    assert (network.train().features(images) == 0).float().mean() > 0.5
    features = network.eval().features(images)
    assert torch.equal(features, network.features(images))


def test_nonlinear_classifier_is_domainbeds() -> None:
    classifier = build(random_spec("smallcnn", nonlinear=True), seed=0).classifier
    assert isinstance(classifier, Classifier)
    shapes = [(layer.in_features, layer.out_features) for layer in classifier if isinstance(layer, nn.Linear)]
    assert shapes == [(64, 32), (32, 16), (16, 5)]


def test_a_vision_transformer_takes_other_image_sizes() -> None:
    network = build(random_spec("timm:vit_tiny_patch16_224"), seed=0)
    assert network(torch.rand(1, 3, SIZE, SIZE)).shape == (1, 5)
    torch.testing.assert_close(network.mean, torch.full((3,), 0.5))
