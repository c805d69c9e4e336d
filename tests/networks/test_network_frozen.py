"""Quick copies of frozen networks, and quick convolutions between few channels, against the plain ones in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dfdgbench.networks.base import Network, NetworkSpec, build
from dfdgbench.networks.frozen import Affine, frozen
from dfdgbench.networks.homogenization import Reconstruction, scores
from dfdgbench.networks.maps import FeatureMaps, convolutions
from dfdgbench.networks.reflected import ReflectedConv

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def network(name: str, size: int, channels: int = 3) -> Network:
    """In float64, with the running statistics and affine parameters of a network that has seen something."""
    made = build(NetworkSpec(name, 5, "none", image_size=size, channels=channels), 0).double().eval()
    random = torch.Generator().manual_seed(1)
    for module in made.modules():
        if isinstance(module, NORMS):
            for values, low in ((module.running_mean, -1), (module.running_var, 0.5), (module.weight, -1)):
                values.data.uniform_(low, 2, generator=random)
    return made


def looked(made: Network, images: Tensor, places: list[int]) -> tuple[Tensor, list[Tensor], Tensor]:
    images = images.clone().requires_grad_(True)
    with FeatureMaps(made, places) as reader:
        logits, maps = reader.of(images)
    total = logits.square().sum() + sum((map_ * map_.detach().sin()).sum() for map_ in maps)
    (gradient,) = torch.autograd.grad(total, images)
    return logits, maps, gradient


@pytest.mark.parametrize(
    ("name", "size", "channels"),
    [
        ("mnist_resnet9", 28, 1),
        ("cifar_resnet18", 32, 3),
        ("smallcnn", 16, 3),
        ("WRN-16-2", 16, 3),
        ("resnet18", 32, 3),
    ],
)
@pytest.mark.parametrize("read", ["nothing", "all", "last"])
def test_a_frozen_copy_computes_the_same(name, size, channels, read):
    made = network(name, size, channels)
    count = len(convolutions(made.featurizer))
    places = {"nothing": [], "all": list(range(count + 2)), "last": [count]}[read]
    kept = copy.deepcopy(made.state_dict())
    images = torch.randn(3, channels, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    logits, maps, gradient = looked(made, images, places)
    quick = frozen(made, places)
    assert all(torch.equal(kept[key], value) for key, value in made.state_dict().items()), "the original is as it was"
    again, others, other = looked(quick, images, places)
    assert torch.allclose(logits, again)
    assert all(torch.allclose(one, two) for one, two in zip(maps, others, strict=True))
    assert torch.allclose(gradient, other)
    assert not any(parameter.requires_grad for parameter in quick.parameters())


def test_batch_normalisation_is_folded_but_where_its_input_is_read():
    made = network("mnist_resnet9", 28, 1)

    def kinds(places: list[int]) -> list[int]:
        modules = list(frozen(made, places).modules())
        return [sum(isinstance(module, kind) for module in modules) for kind in (nn.BatchNorm2d, Affine)]

    assert kinds([]) == [0, 0]
    assert kinds([0, 3, 11]) == [0, 1], "images and features are no convolution's output"
    assert kinds(list(range(12))) == [0, 10]


def test_what_cannot_be_traced_or_folded_stays_as_it_is():
    class Doubtful(nn.Module):
        """Decides by its input, and uses a convolution's output twice."""

        def __init__(self, decides: bool) -> None:
            super().__init__()
            self.conv, self.norm, self.decides = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), decides

        def forward(self, images: Tensor) -> Tensor:
            maps = self.conv(images)
            if self.decides and maps.sum() > 0:
                maps = -maps
            return (self.norm(maps) + maps).mean((2, 3))

    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    for decides in (True, False):
        made = Network(Doubtful(decides), 4, nn.Linear(4, 2)).double().eval()
        quick = frozen(made)
        assert any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
        assert torch.allclose(scores(made, images), scores(quick, images))


# Convolutions between few channels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "width"), [(1, 3), (3, 1), (2, 4), (4, 2), (2, 2)])
@pytest.mark.parametrize("size", [(5, 4), (3, 3)])
def test_products_are_the_convolution(channels, width, size):
    torch.manual_seed(0)
    layer = ReflectedConv(channels, width).double()
    maps = torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)
    plain, quick = layer(maps), layer.channels_first(maps.transpose(0, 1)).transpose(0, 1)
    assert torch.allclose(plain, quick)
    weights = torch.randn_like(plain)
    given = (maps, layer.weight, layer.bias)
    for one, two in zip(*(torch.autograd.grad((made * weights).sum(), given) for made in (plain, quick)), strict=True):
        assert torch.allclose(one, two)
    assert set(layer.state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_reconstruction_is_that_of_its_layers(channels, layout):
    rho = Reconstruction(channels, 4, 3, torch.Generator().manual_seed(0)).double().train()
    other = copy.deepcopy(rho)
    images = torch.randn(5, channels, 9, 7, dtype=torch.float64)
    quick, plain = rho(images), other.exit(other.blocks(other.entry(images)))
    assert torch.allclose(quick, plain)
    gradient = torch.randn_like(plain).contiguous(memory_format=layout)  # as a classifier's first layer gives it
    quick.backward(gradient)
    plain.backward(gradient)
    for one, two in zip(rho.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, atol=1e-10)
    for name, value in rho.state_dict().items():
        assert torch.allclose(value, other.state_dict()[name]), name
    assert torch.allclose(rho.eval()(images), other.eval().exit(other.blocks(other.entry(images))))
