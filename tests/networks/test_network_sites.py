"""Mask sites: what is multiplied and where, several multipliers at once, names that do not exist."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dfdgbench.errors import ConfigError
from dfdgbench.networks.base import Network, NetworkSpec, build
from dfdgbench.networks.sites import Sites, require_sites, site_modules, usual_sites

NETWORKS = [
    ("alexnet", 224, ("classifier.1", "classifier.4", "classifier.6"), (9216, 4096, 4096)),
    ("resnet18", 64, ("layer4", "fc"), (256, 512)),
    ("smallcnn", 28, ("11", "head"), (64, 64)),
    ("MNIST_CNN", 28, ("conv4", "head"), (128, 128)),
    ("WRN-16-2", 32, ("blocks.5", "head"), (128, 128)),
    ("efficientnet_lite0", 64, ("blocks.6", "head"), (192, 1280)),
    ("timm:resnet18", 64, ("layer4", "fc"), (256, 512)),
    ("timm:vit_tiny_patch16_224", 224, ("blocks.11", "head"), (192, 192)),
    ("timm:convnext_atto", 64, ("stages.3", "head"), (160, 320)),
    ("timm:regnetx_002", 64, ("s4.b7.conv3.conv", "head"), (368, 368)),
]


def made(name: str, size: int) -> Network:
    return build(NetworkSpec(name, 5, weights="none", image_size=size), seed=0).eval()


def images(count: int, size: int) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "size", "names", "units"), NETWORKS, ids=[row[0] for row in NETWORKS])
@torch.no_grad()
def test_the_usual_sites_of_a_network_and_several_masks_at_once(name, size, names, units):
    network = made(name, size)
    assert usual_sites(network) == names
    sites = Sites(network, names, size)
    assert (sites.names, sites.units) == (names, units)
    multipliers = [torch.rand(3, k, generator=torch.Generator().manual_seed(k)) for k in units]
    batch = images(2, size)
    together = sites.scores_with_each(batch, multipliers)
    one_by_one = torch.stack([sites.scores(batch, [one[i].expand(2, -1) for one in multipliers]) for i in range(3)])
    assert torch.allclose(together, one_by_one, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-4)
    assert torch.allclose(sites.scores(batch, [torch.ones(2, k) for k in units]), network(batch), atol=1e-6)


@torch.no_grad()
def test_a_resnets_sites_multiply_channels_before_both_branches_of_a_stage():
    """Against a network that is taken apart by hand."""
    network = made("resnet18", 64)
    sites = Sites(network, ("fc", "layer4", "layer3"), 64)
    assert sites.names == ("layer3", "layer4", "fc"), "in the order of a forward, whatever they were given in"
    third, fourth, last = (torch.rand(2, k, generator=torch.Generator().manual_seed(k)) for k in sites.units)
    body, batch = network.featurizer, images(2, 64)
    maps = body.maxpool(
        body.relu(body.bn1(body.conv1((batch - network.mean[:, None, None]) / network.std[:, None, None])))
    )
    maps = body.layer2(body.layer1(maps))
    for stage, factors in ((body.layer3, third), (body.layer4, fourth)):
        maps = stage(maps * factors[:, :, None, None])
    by_hand = network.classifier(maps.mean((2, 3)) * last)
    assert torch.allclose(sites.scores(batch, [third, fourth, last]), by_hand, atol=1e-6)


@torch.no_grad()
def test_alexnets_sites_are_the_inputs_of_its_fully_connected_layers():
    network = made("alexnet", 224)
    sites = Sites(network, ("fc6", "fc7", "fc8"), 224)
    six, seven, eight = (torch.rand(1, k, generator=torch.Generator().manual_seed(k)) for k in sites.units)
    body, batch = network.featurizer, images(1, 224)
    flat = body.avgpool(body.features((batch - network.mean[:, None, None]) / network.std[:, None, None])).flatten(1)
    hidden = torch.relu(body.classifier[1](flat * six))
    hidden = torch.relu(body.classifier[4](hidden * seven))
    assert torch.allclose(sites.scores(batch, [six, seven, eight]), network.classifier(hidden * eight), atol=1e-5)


@torch.no_grad()
def test_what_goes_around_a_site_costs_whole_passes_and_gives_the_same():
    network = made("resnet18", 64)
    sites = Sites(network, ("layer4.0.conv2",), 64)
    assert not sites.cuts
    masks = torch.rand(2, sites.units[0], generator=torch.Generator().manual_seed(0))
    batch = images(3, 64)
    assert torch.equal(sites.scores_with_each(batch, [masks])[1], sites.scores(batch, [masks[1].expand(3, -1)]))
    assert Sites(made("resnet18", 64), ("layer4",), 64).cuts


def test_the_trunk_is_computed_once_for_several_masks():
    network = made("resnet18", 64)
    sites = Sites(network, ("layer4", "fc"), 64)
    seen: dict[str, list[int]] = {"layer1": [], "layer4": []}
    for name in seen:
        module = site_modules(network)[name]
        module.register_forward_hook(lambda module, inputs, output, name=name: seen[name].append(len(output)))
    sites.scores_with_each(images(2, 64), [torch.rand(3, k) for k in sites.units])
    assert seen == {"layer1": [2], "layer4": [6]}


def test_without_multipliers_the_network_is_as_it_was():
    network, plain = made("smallcnn", 28), made("smallcnn", 28)
    Sites(network, ("11", "head"), 28)
    batch = images(2, 28)
    assert torch.equal(network(batch), plain(batch))
    assert list(network.state_dict()) == list(plain.state_dict())
    assert not network.training


def test_an_error_within_a_forward_leaves_no_multipliers_behind():
    network = made("smallcnn", 28)
    sites = Sites(network, ("head",), 28)
    with pytest.raises(RuntimeError):
        sites.scores(images(2, 28), [torch.zeros(2, 3)])
    assert torch.equal(network(images(2, 28)), made("smallcnn", 28)(images(2, 28)))


def test_a_site_that_does_not_exist_lists_those_that_do():
    spec = NetworkSpec("resnet18", 5, weights="none", image_size=64)
    with pytest.raises(ConfigError) as told:
        require_sites(spec, ["layer4", "layr3"])
    message = str(told.value)
    assert message.startswith("The network 'resnet18' has no mask site 'layr3'. Did you mean layer3")
    for name in ("layer1", "layer2", "layer3", "layer4", "fc", "head"):
        assert name in message
    require_sites(spec, ["layer3", "head"])


def test_a_network_without_the_asked_site_is_told():
    with pytest.raises(ConfigError, match="'smallcnn' has no mask site 'layer4', 'fc6'"):
        require_sites(NetworkSpec("smallcnn", 5, image_size=28), ["layer4", "fc6"])
    with pytest.raises(ConfigError, match="none was named"):
        require_sites(NetworkSpec("smallcnn", 5, image_size=28), [])


class Twice(nn.Module):
    """Uses one layer twice, and one never."""

    def __init__(self):
        super().__init__()
        self.shared, self.never = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, images):
        return self.shared(self.shared(images.flatten(1)))


@pytest.mark.parametrize(("name", "times"), [("shared", 2), ("never", 0)])
def test_a_site_is_passed_once_in_a_forward(name, times):
    network = Network(Twice(), 4, nn.Linear(4, 2), mean=(0.0,), std=(1.0,))
    with pytest.raises(ConfigError, match=f"{name} is passed {times} times"):
        Sites(network, [name], 2, channels=1)


def test_what_takes_no_units_is_no_site():
    network = Network(nn.Sequential(nn.Unflatten(2, (1, 2)), nn.Flatten()), 4, nn.Linear(4, 2), mean=(0.0,), std=(1.0,))
    with pytest.raises(ConfigError, match="What enters '1' is no batch"):
        Sites(network, ["1"], 2, channels=1)
