"""Relaxed moment matching: hand-computed values, the percentile's conventions and the gradients."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dfdgbench.errors import ConfigError, UnknownNameError
from dfdgbench.losses.moments import (
    FORMS,
    Band,
    Moments,
    band,
    hinge_norm,
    moment_loss,
    network_bands,
    percentile_slack,
)

DOUBLE = torch.float64
CHANNEL_FORMS = ("channel", "channel-scaled")


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


def moments_of(images: Tensor) -> Moments:
    """Per group, [G, B, C, H, W] to mean and biased variance [G, C]."""
    var, mean = torch.var_mean(images, dim=(1, 3, 4), correction=0)
    return mean, var


def random_moments(groups: int, channels: int, seed: int) -> Moments:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(groups, channels, dtype=DOUBLE, generator=generator),
        torch.rand(groups, channels, dtype=DOUBLE, generator=generator),
    )


def row(moments: Moments, index: int = 0) -> Moments:
    return moments[0][index], moments[1][index]


@pytest.mark.parametrize(("percent", "slack"), [(0, 0.0), (25, 1.75), (50, 2.5), (90, 3.7), (100, 4.0)])
def test_percentile_is_linear_between_channels(percent: float, slack: float) -> None:
    assert percentile_slack(tensor(1, -2, 3, -4), percent).item() == pytest.approx(slack, abs=1e-12)


def test_zero_per_cent_is_no_relaxation_and_not_the_smallest_difference() -> None:
    slack = percentile_slack(tensor(1, 2, 3, 4), 0)
    assert slack.shape == ()
    assert slack.dtype == DOUBLE
    assert slack.item() == 0
    assert percentile_slack(tensor(1, 2, 3, 4), 1e-9).item() == pytest.approx(1)


@pytest.mark.parametrize("percent", [-1, 100.5, math.nan])
@pytest.mark.parametrize("form", FORMS)
def test_relaxation_outside_0_to_100_is_refused(percent: float, form: str) -> None:
    moments = row(random_moments(1, 3, 0))
    with pytest.raises(ConfigError, match="0 to 100"):
        band(moments, moments, percent, form)


@pytest.mark.parametrize(
    ("form", "slack", "value"),
    [
        ("norm", tensor(2.5).squeeze(), 2.5),
        ("channel", tensor(2.5).squeeze(), 1.581139),
        ("channel-scaled", 0.5 * tensor(1, 2, 3, 4), 3.905125),
        ("channel", 0.5 * tensor(1, 2, 3, 4), 3.905125),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_hinge_forms_by_hand(form: str, slack: Tensor, value: float, sign: int) -> None:
    d = sign * tensor(3, 4, 0, 0)
    assert hinge_norm(d[None], slack, form).tolist() == pytest.approx([value], abs=1e-6)


@pytest.mark.parametrize(("form", "value"), [("norm", 1.0), ("channel", 0.0), ("channel-scaled", 0.0)])
def test_full_relaxation_frees_the_reference_only_in_the_channel_forms(form: str, value: float) -> None:
    target = (tensor(0, 0), tensor(1, 1))
    reference = (tensor(3, 4), tensor(1, 1))
    layer = band(target, reference, 100, form)
    at_reference = (reference[0][None], reference[1][None])
    assert moment_loss([at_reference], [layer]).tolist() == [value]


def test_norm_form_takes_a_slack_per_row_and_refuses_one_per_channel() -> None:
    d = torch.stack([tensor(3, 4), tensor(6, 8)])
    assert hinge_norm(d, tensor(1, 2)[:, None], "norm").tolist() == [4, 8]
    with pytest.raises(ValueError, match="one slack a row"):
        hinge_norm(d, tensor(1, 2), "norm")


def test_unknown_form_is_named() -> None:
    with pytest.raises(UnknownNameError, match="channel-scaled"):
        hinge_norm(torch.ones(1, 2), torch.zeros(()), "chanel-scaled")
    with pytest.raises(UnknownNameError, match="'cube'"):
        band(row(random_moments(1, 3, 0)), row(random_moments(1, 3, 1)), 10, "cube")


def test_unrelaxed_loss_of_a_batch_by_hand() -> None:
    images = torch.tensor([[[[1.0, 3.0]], [[0.0, 0.0]]], [[[5.0, 7.0]], [[2.0, 4.0]]]], dtype=DOUBLE)
    mean, var = moments_of(images[None])
    assert mean.tolist() == [[4, 1.5]]
    assert var.tolist() == [[5, 2.75]]
    stored = (tensor(1, 2), tensor(1, 1))
    none = tensor(0).squeeze()
    assert hinge_norm(mean - stored[0], none, "norm").tolist() == pytest.approx([3.041381], abs=1e-6)
    assert hinge_norm(var - stored[1], none, "norm").tolist() == pytest.approx([4.366062], abs=1e-6)
    for form in FORMS:
        loss = moment_loss([(mean, var)], [band(stored, (tensor(9, 9), tensor(9, 9)), 0, form)])
        assert loss.tolist() == pytest.approx([7.407444], abs=1e-6)


class TestCrossDomainByHand:
    """T_a multiplies by 1 and stores (0, 1), T_b by 2 and stores (0, 4); D_a = {0, 2}, D_b = {1, 3}, x = {0, 0}."""

    SCALE: ClassVar = {"a": 1.0, "b": 2.0}
    STORED: ClassVar = {"a": (tensor(0), tensor(1)), "b": (tensor(0), tensor(4))}
    DATA: ClassVar = {"a": tensor(0, 2), "b": tensor(1, 3)}

    def taps(self, teacher: str, images: Tensor) -> Moments:
        return moments_of(self.SCALE[teacher] * images.view(1, -1, 1, 1, 1))

    def loss(self, a: str, b: str, images: Tensor, percent: float) -> float:
        layer = band(row(self.taps(a, self.DATA[b])), self.STORED[a], percent, "channel-scaled")
        return moment_loss([self.taps(a, images)], [layer]).item()

    @pytest.mark.parametrize(("percent", "ab", "ba"), [(0, 3, 6), (50, 2, 5)])
    def test_the_pair_is_ordered(self, percent: float, ab: float, ba: float) -> None:
        assert self.loss("a", "b", tensor(0, 0), percent) == ab
        assert self.loss("b", "a", tensor(0, 0), percent) == ba

    def test_slack_is_half_the_reference_difference(self) -> None:
        layer = band(row(self.taps("a", self.DATA["b"])), self.STORED["a"], 50, "channel-scaled")
        assert (layer.mean_slack.tolist(), layer.var_slack.tolist()) == ([1], [0])

    def test_the_other_domains_images_match_exactly(self) -> None:
        assert self.loss("a", "b", self.DATA["b"], 0) == 0


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), percents=st.tuples(st.floats(0, 100), st.floats(0, 100)))
def test_more_relaxation_never_raises_the_loss(form: str, seed: int, percents: tuple[float, float]) -> None:
    images, target, reference = (random_moments(2, 5, seed + offset) for offset in (0, 1, 2))
    low, high = sorted(percents)
    tight, loose = (moment_loss([images], [band(row(target), row(reference), p, form)]) for p in (low, high))
    assert (loose <= tight + 1e-12).all()


@pytest.mark.parametrize("percent", [0, 50, 70, 100])
def test_penalty_of_the_reference(percent: float) -> None:
    targets, references = ([row(random_moments(1, c, seed + c)) for c in (4, 8, 16)] for seed in (0, 100))
    at_reference = [(mean[None], var[None]) for mean, var in references]

    def penalty(form: str, at: float) -> float:
        return moment_loss(at_reference, network_bands(targets, references, at, form)).item()

    unrelaxed = penalty("norm", 0)
    assert penalty("channel-scaled", percent) == pytest.approx((1 - percent / 100) * unrelaxed, abs=1e-12)
    assert penalty("norm", percent) > 0
    assert penalty("channel", 0) == unrelaxed
    assert penalty("channel", 100) == 0


@pytest.mark.parametrize("form", FORMS)
def test_gradient_is_exactly_zero_inside_the_band_and_at_the_target(form: str) -> None:
    target, reference = row(random_moments(1, 6, 0)), row(random_moments(1, 6, 1))
    layer = band(target, reference, 90, form)
    inside = 0.01 * torch.minimum(layer.mean_slack, layer.var_slack).expand(6)
    for offset in (torch.zeros(6, dtype=DOUBLE), inside):
        mean = (target[0] + offset)[None].requires_grad_()
        var = (target[1] - offset)[None].requires_grad_()
        loss = moment_loss([(mean, var)], [layer])
        gradients = torch.autograd.grad(loss.sum(), (mean, var))
        assert loss.tolist() == [0]
        assert all(torch.equal(gradient, torch.zeros(1, 6, dtype=DOUBLE)) for gradient in gradients)


@pytest.mark.parametrize("form", FORMS)
def test_gradient_is_zero_and_finite_at_the_zero_vector_and_on_the_border(form: str) -> None:
    for value, slack in ((0.0, 0.0), (2.0, 2.0)):
        d = torch.zeros(1, 4, dtype=DOUBLE)
        d[0, 0] = value
        d.requires_grad_()
        (gradient,) = torch.autograd.grad(hinge_norm(d, tensor(slack).squeeze(), form).sum(), d)
        assert torch.equal(gradient, torch.zeros(1, 4, dtype=DOUBLE))


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck_outside_the_band(form: str) -> None:
    layers = [4, 3]
    targets, references = ([row(random_moments(1, c, seed + c)) for c in layers] for seed in (0, 10))
    bands = network_bands(targets, references, 40, form, weights=(1.0, 0.5))
    inputs = [part.requires_grad_() for c in layers for part in random_moments(2, c, 50 + c)]

    def loss(*flat: Tensor) -> Tensor:
        return moment_loss(list(zip(flat[::2], flat[1::2], strict=True)), bands, first_bn_multiplier=3.0)

    assert (loss(*inputs) > 0).all()
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("form", FORMS)
def test_two_groups_are_two_runs(form: str) -> None:
    images = torch.rand(2, 5, 3, 4, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(3))
    layer = band(row(random_moments(1, 3, 0)), row(random_moments(1, 3, 1)), 30, form)

    def run(part: Tensor) -> tuple[Tensor, Tensor]:
        leaf = part.clone().requires_grad_()
        loss = moment_loss([moments_of(leaf)], [layer])
        return loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]

    joint_loss, joint_gradient = run(images)
    alone = [run(images[g : g + 1]) for g in range(2)]
    assert joint_loss.shape == (2,)
    assert torch.equal(joint_loss, torch.cat([loss for loss, _ in alone]))
    assert torch.equal(joint_gradient, torch.cat([gradient for _, gradient in alone]))
    assert (joint_gradient != 0).all(-1).any()


@pytest.mark.parametrize("form", CHANNEL_FORMS)
def test_a_band_may_differ_between_groups(form: str) -> None:
    images, targets, references = (random_moments(2, 4, seed) for seed in (0, 1, 2))
    parts = [band(row(targets, g), row(references, g), 40, form) for g in range(2)]
    both = Band(
        mean=targets[0],
        var=targets[1],
        mean_slack=torch.stack([part.mean_slack.reshape(-1) for part in parts]),
        var_slack=torch.stack([part.var_slack.reshape(-1) for part in parts]),
        form=form,
    )
    alone = [moment_loss([(images[0][g : g + 1], images[1][g : g + 1])], [parts[g]]) for g in range(2)]
    assert torch.equal(moment_loss([images], [both]), torch.cat(alone))


def test_layer_weights_and_the_first_layers_multiplier() -> None:
    images, targets, references = ([random_moments(1, 4, 10 * s + c) for c in range(3)] for s in range(3))
    rows = [row(t) for t in targets], [row(r) for r in references]
    bands = network_bands(*rows, 20, "channel", weights=(1.0, 0.0, 0.5))
    each = [moment_loss([moments], [band(t, r, 20, "channel")]) for moments, t, r in zip(images, *rows, strict=True)]
    assert torch.allclose(moment_loss(images, bands), each[0] + 0.5 * each[2], rtol=1e-12)
    assert torch.allclose(moment_loss(images, bands, 10.0), 10 * each[0] + 0.5 * each[2], rtol=1e-12)


def test_a_layer_of_weight_zero_is_not_evaluated() -> None:
    broken = (torch.full((1, 2), math.nan), torch.full((1, 2), math.nan))
    fine = (torch.ones(1, 2), torch.ones(1, 2))
    bands = [band(row(fine), row(fine), 0, "channel", weight=weight) for weight in (1.0, 0.0)]
    assert moment_loss([fine, broken], bands).tolist() == [0]
    assert moment_loss([broken, fine], bands).isnan().all()


def test_first_variance_percentile_is_for_the_first_variance_alone() -> None:
    targets, references = ([row(random_moments(1, 5, seed + c)) for c in range(2)] for seed in (0, 10))
    plain = network_bands(targets, references, 10, "channel")
    special = network_bands(targets, references, 10, "channel", first_bn_var_percentile=90)
    assert special[0].var_slack == percentile_slack(targets[0][1] - references[0][1], 90) > plain[0].var_slack
    assert special[0].mean_slack == plain[0].mean_slack
    assert special[1].var_slack == plain[1].var_slack
    scaled = network_bands(targets, references, 10, "channel-scaled", first_bn_var_percentile=90)
    assert torch.allclose(scaled[0].var_slack, 0.9 * (targets[0][1] - references[0][1]).abs())


def test_no_relaxation_includes_the_first_variance() -> None:
    target, reference = row(random_moments(1, 5, 0)), row(random_moments(1, 5, 1))
    assert band(target, reference, 0, "channel", first_bn_var_percentile=90).var_slack == 0


@pytest.mark.parametrize("moments", [[], [random_moments(1, 2, 0)] * 2])
def test_as_many_bands_as_layers(moments: list[Moments]) -> None:
    layer = band(row(random_moments(1, 2, 0)), row(random_moments(1, 2, 1)), 0, "channel")
    with pytest.raises(ValueError, match="bands"):
        moment_loss(moments, [layer])
    with pytest.raises(ValueError, match="bands"):
        moment_loss([], [])
