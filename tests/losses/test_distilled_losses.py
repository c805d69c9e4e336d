"""Losses of dataset distillation against values worked out by hand (spec, section 11)."""

from __future__ import annotations

import pytest
import torch

from dfdgbench.losses.densification import densification, spectrum_divergence
from dfdgbench.losses.moments import moment_loss, network_bands
from dfdgbench.losses.schedules import cosine
from dfdgbench.losses.soft_labels import ensemble_logits, matched_logits, soft_label_divergence
from dfdgbench.losses.styles import average_style, set_style, spread, style_distance
from dfdgbench.losses.tiles import MovingAverage, convolution_statistics, distances, tile_moments, tiled_side
from dfdgbench.networks.taps import moments

A = (torch.tensor([0.0, 4.0]), torch.tensor([1.0, 3.0]))
B = (torch.tensor([2.0, 8.0]), torch.tensor([3.0, 5.0]))
S = (torch.tensor([2.0, 4.0]), torch.tensor([1.0, 5.0]))


def close(value: torch.Tensor, expected: object, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(
        value, torch.as_tensor(expected, dtype=value.dtype), rtol=tolerance, atol=tolerance, check_stride=False
    )


# Styles and SRe2L


def test_a_style_is_of_mean_variances_and_not_pooled():
    pixels = torch.tensor([[0.0, 2.0], [4.0, 8.0]]).view(2, 1, 1, 2)
    mean, variance = moments(pixels, groups=2)
    close(mean[:, 0], [1, 6])
    close(variance[:, 0], [1, 4])
    m, s = set_style(mean, variance)
    close(m[0], [3.5])
    close(s[0], [1.581139])
    pooled = moments(pixels)[1][0, 0]
    assert float(pooled) == 8.75 == 2.5 + 6.25
    close(moments(pixels, unbiased=True)[1][0], [11.6667], 1e-4)


def bn_term(mean: list[float], var: list[float], first: float = 1.0) -> float:
    got = (torch.tensor([mean]), torch.tensor([var]))
    aim = [(torch.zeros(len(mean)), torch.zeros(len(mean)))]
    return float(moment_loss([got], network_bands(aim, aim, 0, "channel"), first))


def test_the_bn_term_is_of_norms_that_are_not_squared():
    pixels = torch.tensor([[0.0, 2.0], [4.0, 8.0]]).view(2, 1, 1, 2)
    aim = [(torch.tensor([3.0]), torch.tensor([8.0]))]
    bands = network_bands(aim, aim, 0, "channel")
    assert float(moment_loss([moments(pixels)], bands)) == 1.25
    assert float(moment_loss([moments(pixels)], bands, 10)) == 12.5
    assert 0.01 * float(moment_loss([moments(pixels)], bands, 10)) == 0.125
    assert bn_term([3, 4], [-1, -1]) == pytest.approx(6.414214, abs=1e-6)


def test_distances_to_the_average_style():
    average = average_style([A, B])
    close(average[0], [1, 6])
    close(average[1], [2, 4])
    raw = {
        reduction: float(style_distance(S, average, normalise=False, reduction=reduction))
        for reduction in ("sum", "mean")
    }
    assert raw == {"sum": 7.0, "mean": 3.5}
    close(spread(average[0]), [3.535534])
    close(spread(average[1]), [1.414214])
    assert float(style_distance(S, average, reduction="sum")) == pytest.approx(1.4, abs=1e-5)
    assert float(style_distance(S, average)) == pytest.approx(0.7, abs=1e-5)
    assert float(style_distance(S, average, reduction="sum", unbiased=False)) == pytest.approx(2.8, abs=1e-5)
    assert float(style_distance(S, average, unbiased=False)) == pytest.approx(1.4, abs=1e-5)


def test_distances_of_renderings_to_each_domains_style():
    rendered = [
        (torch.tensor([1.0, 4.0]), torch.tensor([1.0, 4.0])),
        (torch.tensor([5.0, 8.0]), torch.tensor([3.0, 3.0])),
    ]

    def total(**options: object) -> float:
        return sum(float(style_distance(one, aim, **options)) for one, aim in zip(rendered, (A, B), strict=True))

    assert total(normalise=False, reduction="sum") == 15.0
    assert total(normalise=False) == 7.5
    assert float(style_distance(rendered[0], A, reduction="sum")) == pytest.approx(0.625, abs=1e-5)
    assert float(style_distance(rendered[1], B)) == pytest.approx(1.25, abs=1e-5)
    assert total(reduction="sum") == pytest.approx(3.125, abs=1e-5)
    assert total() == pytest.approx(1.5625, abs=1e-5)
    assert total(reduction="sum", unbiased=False) == pytest.approx(6.25, abs=1e-4)


def test_the_average_is_nearest_to_all_domains_and_equal_channels_do_no_harm():
    def cost(at: float) -> float:
        return sum((at - float(domain[0][0])) ** 2 for domain in (A, B))

    assert (cost(1.0), cost(1.5)) == (2.0, 2.5)
    level = (torch.ones(3), torch.ones(3))
    assert torch.isfinite(style_distance((torch.zeros(3), torch.zeros(3)), level))


def test_normalised_distances_know_no_scale():
    by_seven = [tuple(7 * one for one in style) for style in (S, A)]
    close(style_distance(*by_seven), style_distance(S, A))
    close(
        style_distance(*by_seven, normalise=False, reduction="sum"),
        49 * style_distance(S, A, normalise=False, reduction="sum"),
    )


def test_groups_of_a_batch_are_separate_batches():
    images = torch.randn(12, 3, 4, 4, requires_grad=True)
    aim = [(torch.zeros(3), torch.ones(3))]
    bands = network_bands(aim, aim, 0, "channel")
    grouped = moment_loss([moments(images, groups=3)], bands)
    (gradient,) = torch.autograd.grad(grouped.sum(), images)
    for group in range(3):
        alone = images[4 * group : 4 * group + 4].detach().requires_grad_()
        loss = moment_loss([moments(alone)], bands)[0]
        close(loss, grouped[group].detach())
        close(torch.autograd.grad(loss, alone)[0], gradient[4 * group : 4 * group + 4])


def test_the_rate_is_a_cosine():
    rates = {t: cosine(t / 4000, 0.25) for t in (0, 1000, 2000, 3000)}
    assert rates == pytest.approx({0: 0.25, 1000: 0.213388, 2000: 0.125, 3000: 0.036612}, abs=1e-6)
    with pytest.raises(ValueError, match="done"):
        cosine(1.0, 0.25)


# G-VBSM


@pytest.mark.parametrize(
    ("rows", "value", "gradient"),
    [
        ([[1.0, 1.0], [1.0, 1.0]], 0.511713, [[0.501910, 0.501910], [0.501910, 0.501910]]),
        ([[1.0, 0.0], [0.0, 1.0]], 0.0, [[0.0, 0.0], [0.0, 0.0]]),
        ([[0.0, 0.0], [0.0, 3000.0**0.5]], 0.0, [[0.0, 0.0], [0.0, 0.0]]),
    ],
)
def test_densification(rows, value, gradient):
    x = torch.tensor(rows, requires_grad=True)
    loss = spectrum_divergence(x)
    close(loss.detach(), value)
    close(torch.autograd.grad(loss, x)[0], gradient)


def test_densification_of_two_images_of_different_size():
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]], requires_grad=True)
    loss = spectrum_divergence(x)
    close(loss.detach(), 0.383564)
    close(torch.autograd.grad(loss, x)[0].diagonal(), [-0.546791, 1.093582])


def test_densification_sums_classes_and_does_not_mix_them():
    images = torch.randn(6, 1, 2, 2) * 0.3
    parts = densification(images[:3], 1) + densification(images[3:], 1)
    close(densification(images, 2), parts)
    close(densification(images[[2, 0, 1, 3, 4, 5]], 2), parts)


def test_tile_statistics_of_a_map_of_two_halves():
    entered = torch.zeros(2, 3, 32, 32)
    entered[..., 16:] = 1
    mean, variance, tile_mean, tile_variance = convolution_statistics(entered)
    close(mean, [0.5] * 3)
    close(variance, [0.25] * 3)
    close(tile_mean, [0, 1, 0, 1])
    close(tile_variance, [0.0] * 4)


@pytest.mark.parametrize(
    ("side", "resized", "tiles"), [(224, 224, 196), (112, 112, 49), (56, 64, 16), (28, 32, 4), (14, 16, 1), (7, 16, 1)]
)
def test_maps_are_resized_to_whole_tiles(side, resized, tiles):
    assert tiled_side(side) == resized
    assert tile_moments(torch.randn(1, 2, side, side))[0].shape == (tiles,)


def test_the_moving_average_starts_at_zero_and_passes_the_gradient():
    average, now = MovingAverage(0.4), torch.ones(1, requires_grad=True)
    values = []
    for _ in range(2):
        (ema,) = average([now])
        values.append(float(ema.detach()))
    assert values == pytest.approx([0.6, 0.84])
    (ema,) = MovingAverage(0.4)([now])
    loss = distances([torch.tensor([2.0])], [ema])
    close(loss.detach(), 1.4)
    close(torch.autograd.grad(loss, now)[0], [-1.0])
    mended = MovingAverage(0.4, "first")
    assert [float(mended([now.detach()])[0]) for _ in range(2)] == [1.0, 1.0]


def test_backbones_are_brought_to_one_norm():
    logits = torch.tensor([[[3.0, 4.0]], [[6.0, 8.0]]])
    mean = ensemble_logits(logits)
    close(mean, [[4.5, 6.0]])
    student, label = torch.tensor([[4.5, 5.0]]), torch.tensor([1])
    close(matched_logits(student, mean, label, 0.0), 0.5)
    close(torch.nn.functional.cross_entropy(student, label), 0.474077)
    close(matched_logits(student, mean, label), 0.547408)


# Soft labels


@pytest.mark.parametrize(("temperature", "value", "gradient"), [(1, 0.327813, 0.380797), (20, 0.00124845, 0.001249)])
def test_soft_label_divergence(temperature, value, gradient):
    student = torch.zeros(1, 2, requires_grad=True)
    loss = soft_label_divergence(student, torch.tensor([[2.0, 0.0]]), temperature)
    close(loss.detach(), value, 1e-6)
    close(torch.autograd.grad(loss, student)[0], [[-gradient, gradient]], 1e-6)
    if temperature == 20:
        close(400 * loss.detach(), 0.499380)
