"""The transfer network: size, mixtures of styles, what its normalisation does."""

from __future__ import annotations

import pytest
import torch

from dfdgbench.networks.transfer import ConditionalNorm, TransferNetwork


def made(styles: int = 3, width: int = 32, **options: bool) -> TransferNetwork:
    torch.manual_seed(0)
    network = TransferNetwork(styles, width, **options)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "gamma" in name or "beta" in name:
                parameter.copy_(torch.randn_like(parameter))
    return network


@pytest.mark.parametrize(("styles", "parameters"), [(3, 1_684_050), (4, 1_687_256)])
def test_parameters(styles, parameters):
    network = TransferNetwork(styles)
    assert sum(p.numel() for p in network.parameters()) == parameters
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 16
    assert sum(c.weight.numel() for c in convolutions) == 1_674_432


@pytest.mark.parametrize(("side", "rendered"), [(32, 32), (33, 36), (28, 28)])
def test_renders_images_between_zero_and_one(side, rendered):
    network = made(width=4)
    images = network(torch.rand(2, 3, side, side), torch.eye(3)[:2])
    assert images.shape == (2, 3, rendered, rendered)
    assert float(images.detach().min()) > 0 and float(images.detach().max()) < 1


def test_mixtures():
    network, images = made(width=4), torch.rand(3, 3, 32, 32)
    one, two = torch.tensor([0, 1, 2]), torch.tensor([2, 0, 1])

    def render(first: torch.Tensor, second: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return network(images, network.mixture(first, second, share))

    pure = render(one, one, torch.ones(3))
    assert torch.equal(render(one, two, torch.ones(3)), pure)
    assert torch.equal(render(two, one, torch.zeros(3)), pure)
    share = torch.tensor([0.25, 0.5, 0.75])
    assert torch.equal(render(one, one, share), pure)
    assert torch.equal(render(one, two, share), render(two, one, 1 - share))
    assert not torch.equal(render(one, two, share), pure)
    mean = share[:, None, None, None] * pure + (1 - share)[:, None, None, None] * render(two, two, share)
    assert float((render(one, two, share) - mean).abs().max()) > 1e-3  # the whole network is not affine in theta


def test_one_layer_is_affine_in_theta():
    norm = ConditionalNorm(2, 1)
    with torch.no_grad():
        norm.gamma.copy_(torch.tensor([[2.0], [4.0]]))
        norm.beta.copy_(torch.tensor([[1.0], [-1.0]]))
    maps = torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2)
    rows = {share: norm(maps, torch.tensor([[share, 1 - share]])).flatten().detach() for share in (1.0, 0.0, 0.25)}
    torch.testing.assert_close(rows[0.25], torch.tensor([-3.999982, 2.999982]), rtol=0, atol=1e-6)
    torch.testing.assert_close(rows[0.25], 0.25 * rows[1.0] + 0.75 * rows[0.0])


def test_the_last_normalisation_pins_the_colours_and_can_be_left_out():
    network = made(width=4)
    with torch.no_grad():
        before = network.before_sigmoid(torch.rand(2, 3, 32, 32), torch.eye(3)[[1, 1]])
    norm = network.last.norm
    assert norm is not None
    torch.testing.assert_close(before.mean((2, 3)), norm.beta[1].detach().expand(2, 3), rtol=0, atol=1e-3)
    torch.testing.assert_close(
        before.std((2, 3), correction=0), norm.gamma[1].detach().abs().expand(2, 3), rtol=0, atol=2e-3
    )
    assert made(width=4, final_norm=False).last.norm is None


def test_a_style_is_its_own():
    network, images = made(width=4), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        before = network(images, torch.eye(3)[[0, 2]])
        for name, parameter in network.named_parameters():
            if "gamma" in name or "beta" in name:
                parameter[1] += 1
        assert torch.equal(network(images, torch.eye(3)[[0, 2]]), before)
