"""Oracles of data homogenisation on tensors: statistics, their distance, and the measures of images."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dfdgbench.losses.homogenization import (
    class_moments,
    moment_distance,
    neighbour_variation,
    reduced,
    statistics_loss,
)
from dfdgbench.losses.image_quality import (
    l2_error,
    luminance,
    psnr,
    scaled,
    similarity_map,
    ssim,
    structural_similarity,
    window,
)

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


def image(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 1, 2, -1)


def rows(*values: float) -> Tensor:
    return torch.tensor(values)[:, None]


# l2-error ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "expected"), [(MNIST, 2.8), (CIFAR, 5.54256)])
def test_adding_a_constant_has_the_error_b_root_d(shape, expected):
    assert l2_error(lambda x: x + 0.1, shape) == pytest.approx(expected, abs=1e-5)


def test_scaling_zeroing_and_shifting_have_their_errors():
    assert l2_error(lambda x: x, MNIST) == 0
    assert l2_error(lambda x: 0.7 * x, MNIST) == pytest.approx(0.3, abs=1e-6)
    assert l2_error(lambda x: 0 * x, CIFAR) == pytest.approx(1)
    assert l2_error(lambda x: x.roll(1, -1), CIFAR) == pytest.approx(math.sqrt(2))


def test_scaling_and_adding_together():
    assert l2_error(lambda x: 0.9 * x + 0.1, (1, 2, 2), batch=3) == pytest.approx(0.173205, abs=1e-6)


# PSNR ----------------------------------------------------------------------------------------------------------------


def test_psnr_is_blind_to_an_affine_change_of_each_image():
    images = torch.rand(3, 3, 8, 8)
    assert psnr(images, images) == math.inf
    steps = torch.randint(0, 9, (2, 1, 4, 4)) / 4.0
    assert psnr(steps, 3 * steps - 2) == math.inf


def test_psnr_of_known_differences():
    ramp = image(0, 0.25, 0.5, 1)
    assert float(psnr(ramp, image(0, 0.5, 0.5, 1))) == pytest.approx(18.0618, abs=1e-4)
    assert float(psnr(ramp, -ramp)) == pytest.approx(2.4988, abs=1e-4)
    binary = image(0, 1, 1, 0)
    assert float(psnr(binary, 1 - binary)) == pytest.approx(0, abs=1e-9)


def test_psnr_is_the_mean_of_images_own():
    ramp, other = image(0, 0.25, 0.5, 1), image(0, 0.5, 0.5, 1)
    both = psnr(torch.cat([ramp, ramp]), torch.cat([other, -ramp]))
    assert float(both) == pytest.approx((18.0618 + 2.4988) / 2, abs=1e-4)


def test_luminance_of_red_and_blue_and_a_constant_image():
    red, blue = torch.zeros(2, 1, 3, 1, 1)
    red[:, 0], blue[:, 2] = 1, 1
    assert float(luminance(red)) == pytest.approx(0.2126)
    assert float(luminance(blue)) == pytest.approx(0.0722)
    assert torch.equal(scaled(torch.full((1, 1, 4, 4), 7.0)), torch.zeros(1, 1, 4, 4))


# SSIM ----------------------------------------------------------------------------------------------------------------

RAMP = torch.linspace(0, 1, 28, dtype=torch.float64).expand(1, 1, 28, 28)
BOARD = ((torch.arange(28)[:, None] + torch.arange(28)) % 2).double()[None, None]


def test_ssim_of_the_same_image_and_of_mirrored_ramps():
    assert float(ssim(RAMP, RAMP)) == pytest.approx(100)
    assert float(structural_similarity(RAMP, RAMP.flip(-1), 1)) == pytest.approx(-0.569435, abs=1e-6)
    assert float(ssim(RAMP, RAMP.flip(-1))) == pytest.approx(21.528, abs=1e-3)
    assert float(structural_similarity(RAMP, RAMP / 2, 1)) == pytest.approx(0.670432, abs=1e-6)
    assert float(ssim(RAMP, RAMP / 2)) == pytest.approx(100), "stretched, they are the same"


def test_ssim_of_a_checkerboard_and_its_negative():
    assert float(structural_similarity(BOARD, 1 - BOARD, 1)) == pytest.approx(-0.996406, abs=1e-6)
    assert float(ssim(BOARD, 1 - BOARD)) == pytest.approx(0.180, abs=1e-3)
    assert similarity_map(BOARD, 1 - BOARD, 1).shape == (1, 1, 18, 18)


def test_ssim_of_constants_and_the_window():
    one, two = torch.full((1, 1, 16, 16), 0.4).double(), torch.full((1, 1, 16, 16), 0.6).double()
    assert float(structural_similarity(one, two, 1)) == pytest.approx(0.923092, abs=1e-6)
    assert float(window()[5, 5]) == pytest.approx(0.0707622, abs=1e-7)
    assert float(window()[0, 0]) == pytest.approx(1.05757e-6, abs=1e-10)
    assert float(window().sum()) == pytest.approx(1)


def test_ssim_of_images_smaller_than_the_window_is_a_number():
    small = torch.rand(2, 3, 8, 8)
    assert float(ssim(small, small)) == pytest.approx(100)
    assert 0 <= float(ssim(small, torch.rand(2, 3, 8, 8))) < 100


# Statistics ----------------------------------------------------------------------------------------------------------


def moments(maps: Tensor, labels: Tensor | None = None, classes: int = 1) -> tuple[Tensor, Tensor]:
    return class_moments(maps, labels, classes)[:2]


def test_the_distance_of_two_pairs_is_four_and_its_norms_are_not_squared():
    source, target = moments(rows(0.0, 2.0)), rows(0.0, 4.0)
    assert [float(part) for part in (*source, *moments(target))] == [1, 1, 2, 4]
    assert float(statistics_loss([source], [target])) == pytest.approx(4)


def test_equal_permuted_and_doubled_sets_have_the_same_statistics():
    maps = torch.randn(6, 3, 4, 5)
    source = moments(maps)
    for same in (maps, maps.flip(0), torch.cat([maps, maps])):
        assert float(statistics_loss([source], [same])) == pytest.approx(0, abs=1e-6)


def test_a_map_has_moments_per_channel_over_images_and_places():
    mean, variance = moments(torch.arange(8.0).view(2, 2, 2, 1))
    assert mean.tolist() == [[2.5, 4.5]]
    assert variance.tolist() == [[4.25, 4.25]]


def test_moments_by_class_are_those_of_the_class_alone():
    maps, labels = torch.randn(7, 3, 4, 4, dtype=torch.float64), torch.tensor([0, 2, 2, 0, 2, 3, 2])
    mean, variance, counts = class_moments(maps, labels, 4)
    assert counts.tolist() == [2, 0, 4, 1]
    for label in (0, 2, 3):
        own = maps[labels == label].transpose(0, 1).flatten(1)
        assert torch.allclose(mean[label], own.mean(1))
        assert torch.allclose(variance[label], own.var(1, correction=0))
    assert mean[1].tolist() == [0] * 3
    assert variance[1].tolist() == [1] * 3


def test_a_class_of_one_example_varies_over_places_alone():
    vectors, labels = torch.randn(2, 5), torch.tensor([0, 1])
    assert class_moments(vectors, labels, 2)[1].abs().max() == 0


def test_repeating_a_map_leaves_the_mean_and_doubles_the_sum():
    maps, source = torch.randn(4, 3, 2, 2), moments(torch.randn(9, 3, 2, 2))
    for how, factor in (("mean", 1), ("sum", 2)):
        once = statistics_loss([source], [maps], over_maps=how)
        twice = statistics_loss([source] * 2, [maps] * 2, over_maps=how)
        assert float(twice) == pytest.approx(factor * float(once), rel=1e-5)


def test_identical_classes_give_the_plain_value_each():
    one, source = torch.randn(4, 3, 2, 2), moments(torch.randn(9, 3, 2, 2))
    maps, labels = torch.cat([one] * 5), torch.arange(5).repeat_interleave(4)
    by_class = [tuple(part.expand(5, -1) for part in source)]
    plain = float(statistics_loss([source], [one]))
    assert float(statistics_loss(by_class, [maps], labels)) == pytest.approx(plain, rel=1e-5)
    assert float(statistics_loss(by_class, [maps], labels, over_classes="sum")) == pytest.approx(5 * plain, rel=1e-5)


def test_a_class_that_is_absent_adds_to_the_value_and_not_to_the_gradient():
    maps = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 0, 1])
    source = (torch.randn(3, 3, dtype=torch.float64), torch.rand(3, 3, dtype=torch.float64))
    with_it = statistics_loss([source], [maps], labels)
    without = statistics_loss([(source[0][:2], source[1][:2])], [maps], labels)
    lost = (source[0][2].norm() + (source[1][2] - 1).norm()) / 3
    assert float(with_it.detach()) == pytest.approx(float((without * 2 / 3 + lost).detach()))
    one, two = (torch.autograd.grad(value, maps, retain_graph=True)[0] for value in (with_it, without))
    assert torch.allclose(one, two * 2 / 3)


def test_a_batch_that_has_the_source_statistics_has_a_finite_gradient():
    maps = torch.randn(5, 3, 2, 2, requires_grad=True)
    source = tuple(part.detach() for part in moments(maps))
    statistics_loss([source], [maps]).backward()
    assert torch.isfinite(maps.grad).all()


@pytest.mark.parametrize("shape", [(4, 3, 3, 2), (4, 3)])
def test_the_gradient_is_that_of_the_formula(shape):
    torch.manual_seed(0)
    maps, labels = torch.randn(shape, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1, 0, 0])
    source = [(torch.randn(2, 3, dtype=torch.float64), torch.rand(2, 3, dtype=torch.float64))]
    assert torch.autograd.gradcheck(lambda x: statistics_loss(source, [x], labels), (maps,))


def test_terms_that_are_not_finite_are_left_out():
    assert float(reduced(torch.tensor([1.0, math.inf, 3.0, math.nan]), "mean")) == 2
    assert float(reduced(torch.tensor([1.0, math.inf, 3.0]), "sum")) == 4
    assert float(reduced(torch.tensor([math.nan]), "mean")) == 0
    nothing = moment_distance((torch.zeros(1, 2), torch.ones(1, 2)), (torch.zeros(1, 2), torch.ones(1, 2)))
    assert nothing.tolist() == [0]


def test_the_variation_of_one_edge():
    edge = torch.zeros(1, 1, 2, 2)
    edge[..., 1] = 2
    # Across: two differences of 2; down: none; both diagonals: one of 2 each.
    assert float(neighbour_variation(edge)) == pytest.approx(math.sqrt(8) + 0 + 2 + 2)


# Projections ---------------------------------------------------------------------------------------------------------


def test_centring_a_projection_changes_means_and_not_variances():
    from dfdgbench.networks.maps import projection

    directions = projection(12, 5, torch.Generator().manual_seed(0))
    assert torch.allclose(directions.norm(dim=0), torch.ones(5))
    images, colour = torch.randn(20, 12), torch.randn(12)
    plain, centred = moments(images @ directions), moments((images - colour) @ directions)
    assert torch.allclose(plain[1], centred[1], atol=1e-5)
    assert torch.allclose(plain[0] - colour @ directions, centred[0], atol=1e-5)
