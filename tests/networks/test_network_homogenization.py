"""The classifiers of data homogenisation, its perturbations, its reconstruction network, and its feature maps."""

from __future__ import annotations

import math

import pytest
import torch

from dfdgbench.losses.image_quality import l2_error, psnr, ssim
from dfdgbench.networks.base import NetworkSpec, build
from dfdgbench.networks.homogenization import Corrupted, Homogenized, Perturbation, Reconstruction, normalised, scores
from dfdgbench.networks.maps import FeatureMaps, convolutions

SIZES = {
    "mnist_resnet20": (1, 28, 272_186, 21),
    "mnist_resnet9": (1, 28, 42_938, 10),
    "cifar_resnet18": (3, 32, 11_173_962, 20),
    "cifar_resnet34": (3, 32, 21_282_122, 36),
}


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(name: str):
    channels, size, *_ = SIZES[name]
    return build(NetworkSpec(name, 10, image_size=size, channels=channels), 0).eval()


@pytest.mark.parametrize("name", SIZES)
def test_classifiers_have_the_published_size(name):
    *_, parameters, layers = SIZES[name]
    made = network(name)
    assert sum(p.numel() for p in made.parameters()) == parameters
    assert len(convolutions(made)) == layers


def test_maps_are_counted_and_shaped_as_published():
    with FeatureMaps(network("cifar_resnet34")) as maps:
        logits, found = maps.of(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    assert len(found) == 36 + 2
    assert found[0].shape == (2, 3, 32, 32)
    assert found[-2].shape == (2, 512, 2, 2), "the last convolution's"
    assert found[-1].shape == (2, 512), "the features"
    assert {tuple(map_.shape[1:]) for map_ in found[2:-1]} == {(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)}


def test_maps_are_those_before_normalisation():
    made = network("mnist_resnet9")
    for _ in range(60):  # running statistics come close to those of these images
        images = torch.randn(32, 1, 28, 28, generator=draw())
        made.train()
        scores(made, images)
    with FeatureMaps(made.eval(), [1]) as maps:
        _, (map_,) = maps.of(images)
    assert torch.allclose(map_.mean((0, 2, 3)), made.featurizer.bn1.running_mean, atol=0.02)


def test_hooks_are_gone_after_the_context():
    made = network("mnist_resnet9")
    with FeatureMaps(made):
        pass
    assert not any(layer._forward_hooks for layer in convolutions(made))


# Perturbation --------------------------------------------------------------------------------------------------------


def test_kappa_zero_changes_nothing():
    images = torch.randn(4, 3, 32, 32)
    delta = Perturbation(3, (32, 32), 0.0, draw())
    assert torch.equal(delta(images), images)
    assert l2_error(delta, (3, 32, 32)) == 0
    assert psnr(images, delta(images)) == math.inf
    assert float(ssim(images, delta(images))) == pytest.approx(100)


def test_a_known_kernel_with_reflected_borders():
    delta = Perturbation(1, (3, 3), 0.0, draw())
    delta.kernels[0, 0, 0, 1, 0] = 0.5
    made = delta(torch.arange(1.0, 10).view(1, 1, 3, 3))
    assert made[0, 0].tolist() == [[2, 2.5, 4], [6.5, 7, 8.5], [11, 11.5, 13]]


def test_the_perturbation_is_affine_the_same_for_every_image_and_without_gradient():
    delta = Perturbation(3, (8, 8), 0.3, draw())
    one, two = torch.randn(2, 1, 3, 8, 8, requires_grad=True)
    assert torch.allclose(delta(one) + delta(two) - delta(one + two), delta(0 * one), atol=1e-4)
    assert torch.allclose(delta(torch.cat([one, two])), torch.cat([delta(one), delta(two)]), atol=1e-5)
    assert not delta(one).requires_grad
    assert not list(delta.parameters())
    assert sum(b.numel() for b in delta.buffers()) == 2 * (9 * 9 + 3) + 3 * 8 * 8


@pytest.mark.parametrize(
    ("channels", "size", "kappa", "norm", "count"), [(1, 28, 0.3, 8.4, 804), (3, 32, 0.15, 8.3, 3240)]
)
def test_the_noise_has_the_published_norm_and_the_seed_decides(channels, size, kappa, norm, count):
    first, again, other = (Perturbation(channels, (size, size), kappa, draw(seed)) for seed in (0, 0, 1))
    assert float(first.noise.norm()) == pytest.approx(norm, rel=0.06)
    assert torch.equal(first.noise, again.noise)
    assert torch.equal(first.kernels, again.kernels)
    assert not torch.equal(first.kernels, other.kernels)
    assert sum(b.numel() for b in first.buffers()) == count


def test_without_biases_the_rest_is_the_same():
    with_them, without = (Perturbation(3, (8, 8), 0.3, draw(), biases=biases) for biases in (True, False))
    assert torch.equal(with_them.kernels, without.kernels)
    assert with_them.biases.abs().min() > 0
    assert without.biases.abs().max() == 0


@pytest.mark.parametrize(
    "kind", ["blur", "brightness", "contrast", "gamma", "noise", "rotation", "sharpness", "solarise"]
)
def test_corruptions_grow_with_their_severity_and_stay_images(kind):
    made = build(NetworkSpec("smallcnn", 2, image_size=16, channels=3), 0)
    images = normalised(made, torch.rand(2, 3, 16, 16, generator=draw()))
    errors = []
    for severity in (1, 3, 5):
        corrupted = Corrupted(kind, severity, made, (16, 16), draw(3))(images)
        pixels = corrupted * made.std[:, None, None] + made.mean[:, None, None]
        assert -1e-5 <= float(pixels.min()) <= float(pixels.max()) <= 1 + 1e-5
        errors.append(float((corrupted - images).square().mean()))
    assert 0 < errors[0] < errors[1] < errors[2]


# Reconstruction ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "depth", "colour", "grey"), [(8, 8, 3738, 1372), (16, 4, 3702, 1360), (4, 4, 966, 352)]
)
def test_the_reconstruction_has_the_published_size(width, depth, colour, grey):
    counts = [sum(p.numel() for p in Reconstruction(c, width, depth, draw()).parameters()) for c in (3, 1)]
    assert counts == [colour, grey]


def test_a_fresh_reconstruction_normalises_and_later_does_not_look_at_the_batch():
    rho = Reconstruction(3, 8, 8, draw())
    images = 5 + 3 * torch.randn(16, 3, 12, 12, generator=draw())
    made = rho(images)
    assert made.shape == images.shape
    assert torch.allclose(made.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(made.var((0, 2, 3), correction=0), torch.ones(3), atol=1e-3)
    rho.eval()
    assert torch.allclose(rho(images)[:4], rho(images[:4]), atol=1e-5)


def test_the_trunk_starts_as_the_identity_and_the_generator_decides():
    rho, again = Reconstruction(2, 4, 3, draw()), Reconstruction(2, 4, 3, draw())
    assert torch.equal(rho.entry.weight[:, :, 0, 0], torch.eye(2))
    assert all(torch.equal(one, two) for one, two in zip(rho.parameters(), again.parameters(), strict=True))
    bounds = [block.conv1.weight.abs().max() * math.sqrt(n + 1) * math.sqrt(18) for n, block in enumerate(rho.blocks)]
    assert all(0.8 < float(bound.detach()) <= 1 for bound in bounds)


def test_the_classifier_behind_it_stays_in_eval_mode():
    made = network("mnist_resnet9")
    whole = Homogenized(made, [Reconstruction(1, 4, 2, draw())]).train()
    assert not made.training
    assert whole.before.training
    images = torch.rand(3, 1, 28, 28)
    assert torch.allclose(Homogenized(made, [])(images), made(images), atol=1e-5)
