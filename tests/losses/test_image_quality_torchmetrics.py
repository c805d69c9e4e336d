"""PSNR, SSIM and l2-error of images against torchmetrics, an independent implementation, where it computes the same.

Both are given images as data homogenisation compares them (``comparable``: stretched one by one, then luminance), since
torchmetrics stretches nothing. Its mean SSIM takes in a border of five pixels that it has reflected; inside it the map is ours.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.functional import mean_squared_error
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from dfdgbench.losses.image_quality import comparable, l2_error, psnr, similarity_map, ssim, structural_similarity

SHAPES = [(5, 1, 28, 28), (4, 3, 32, 32), (3, 3, 11, 17)]
BORDER = 5


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pairs(shape: tuple[int, ...]) -> dict[str, tuple[Tensor, Tensor]]:
    """Clean images, and others: nothing alike, much alike, negatives, of one value, of few values on a flat ground."""
    clean = noise(shape, 0)
    flat, dotted = torch.zeros(2, *shape)
    flat[..., 3:5, 3:5], dotted[..., 4:6, 3:5] = 1, 0.5
    return {
        "unlike": (clean, noise(shape, 1)),
        "alike": (clean, 2 * clean + 0.3 * noise(shape, 1) - 1),
        "negative": (clean, -clean),
        "constant": (clean, torch.full(shape, 2.0)),
        "flat": (flat, dotted),
    }


KINDS = ["unlike", "alike", "negative", "constant", "flat"]


def theirs_psnr(clean: Tensor, other: Tensor) -> float:
    """Of each image by itself, then their mean."""
    return float(peak_signal_noise_ratio(comparable(other), comparable(clean), data_range=1.0, dim=(1, 2, 3)))


def theirs_map(one: Tensor, two: Tensor, span: float | None) -> Tensor:
    """SSIM where the window fits, with their window and constants; without ``span`` the range is their own finding."""
    _, whole = structural_similarity_index_measure(two, one, data_range=span, return_full_image=True)
    return whole[..., BORDER:-BORDER, BORDER:-BORDER]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_psnr_is_theirs_of_each_image(shape, kind):
    clean, other = pairs(shape)[kind]
    # They divide by a logarithm of ten in float32.
    assert float(psnr(clean, other)) == pytest.approx(theirs_psnr(clean, other), rel=1e-7)


def test_psnr_of_equal_and_of_two_constant_images_is_infinite_for_both():
    images, one, two = noise((2, 3, 12, 12), 0), torch.full((2, 1, 12, 12), 0.4), torch.full((2, 1, 12, 12), 0.6)
    for clean, other in ((images, images), (one, two)):
        assert float(psnr(clean, other)) == theirs_psnr(clean, other) == math.inf


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_ssim_is_theirs_where_the_window_fits(shape, kind):
    clean, other = pairs(shape)[kind]
    found = theirs_map(comparable(clean), comparable(other), None)
    assert found.shape[-2:] == (shape[-2] - 2 * BORDER, shape[-1] - 2 * BORDER)
    assert float(ssim(clean, other)) == pytest.approx(50 * (1 + float(found.mean())), abs=1e-9)


@pytest.mark.parametrize("span", [1.0, 2.5])
@pytest.mark.parametrize(("low", "high"), [(0.4, 0.6), (0.0, 1.0), (0.3, 0.3), (0.0, 0.0)])
def test_the_map_of_constant_images_is_theirs(low, high, span):
    one, two = torch.full((2, 1, 14, 12), low).double(), torch.full((2, 1, 14, 12), high).double()
    assert torch.allclose(similarity_map(one, two, span), theirs_map(one, two, span), atol=1e-9)
    assert float(structural_similarity(one, two, span)) == pytest.approx(float(theirs_map(one, two, span).mean()))


def test_the_l2_error_is_the_root_of_d_times_their_mean_squared_error():
    shape, size = (3, 6, 5), 90
    transform = nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False)
    images = torch.eye(size).view(size, *shape)
    theirs = float(mean_squared_error(transform(images).flatten(), images.flatten()))
    assert l2_error(transform, shape, batch=32) == pytest.approx(math.sqrt(size * theirs), rel=1e-5)
