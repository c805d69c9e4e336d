"""Losses of adaptation for segmentation, against hand-computed values (spec: oracles O1-O3, O6-O11, O18)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dfdgbench.losses.confidence import (
    Prediction,
    entropy,
    entropy_loss,
    halves,
    max_square_loss,
    patch_entropies,
    patches,
    weighted_max_square_loss,
)
from dfdgbench.losses.dual_attention import Attention, divergence_of_maps, kl_of_logs, rows
from dfdgbench.losses.pseudo_labels import class_thresholds, pseudo_labels
from dfdgbench.losses.source_free import (
    deceiving,
    output_distance,
    shown_to_discriminator,
    statistics_loss,
    telling_apart,
)

LITERAL = Attention("none")
F = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]])


def pixel(*logits: float) -> Tensor:
    """Score maps [1, K, 1, 1] of one pixel."""
    return torch.tensor(logits).view(1, -1, 1, 1).requires_grad_()


def of(probabilities: list[float]) -> Tensor:
    return torch.tensor(probabilities).log().view(1, -1, 1, 1).requires_grad_()


def gradient(loss: Tensor, at: Tensor) -> list[float]:
    return torch.autograd.grad(loss, at)[0].flatten().tolist()


# O1, O2, O3 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "value"), [(19, -0.0526316), (16, -0.0625), (13, -0.0769231)])
def test_squares_of_even_and_of_sure_pixels(classes: int, value: float) -> None:
    sure = torch.zeros(2, classes, 3, 5)
    sure[:, 1] = 1000
    assert max_square_loss(torch.zeros(2, classes, 3, 5)).item() == pytest.approx(value, abs=1e-6)
    assert max_square_loss(sure).item() == pytest.approx(-1)
    assert max_square_loss(sure, "released").item() == pytest.approx(-1 / (2 * classes))


def test_released_squares_and_gradients() -> None:
    assert max_square_loss(torch.zeros(1, 19, 2, 2), "released").item() == pytest.approx(-0.00138504, abs=1e-7)
    scores = pixel(math.log(4), 0)
    loss = max_square_loss(scores)
    assert loss.item() == pytest.approx(-0.68)
    assert gradient(loss, scores) == pytest.approx([-0.192, 0.192], abs=1e-6)


def test_entropy_and_its_gradients() -> None:
    scores = pixel(math.log(4), 0)
    assert entropy(scores).item() == pytest.approx(0.500402, abs=1e-6)
    assert entropy_loss(scores).item() == pytest.approx(0.721928, abs=1e-6)
    assert gradient(entropy(scores).mean(), scores) == pytest.approx([-0.221807, 0.221807], abs=1e-6)
    assert entropy(torch.zeros(1, 19, 1, 1)).item() == pytest.approx(2.944439, abs=1e-6)
    assert entropy(torch.zeros(1, 13, 1, 1)).item() == pytest.approx(2.564949, abs=1e-6)


def test_squares_spare_sure_pixels_where_entropy_does_not() -> None:
    sure = of([0.99, 0.01])
    assert abs(gradient(entropy(sure).mean(), sure)[0]) == pytest.approx(0.045492, abs=1e-6)
    assert abs(gradient(max_square_loss(sure), sure)[0]) == pytest.approx(0.019404, abs=1e-6)


def test_entropy_of_a_one_hot_pixel_is_nothing_and_finite() -> None:
    scores = pixel(1000.0, 0.0)
    assert entropy(scores).item() == 0
    assert gradient(entropy(scores).mean(), scores) == [0, 0]


def test_image_wise_weights_are_an_image_s_own() -> None:
    scores = torch.zeros(1, 2, 2, 2)
    scores[0, 0].flatten()[:3] = 1000
    scores[0, 1, 1, 1] = 1000
    assert weighted_max_square_loss(scores, 0.2).item() == pytest.approx(-0.5621474, abs=1e-6)
    other = torch.randn(1, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    apart = (weighted_max_square_loss(scores) + weighted_max_square_loss(other)) / 2
    assert torch.allclose(weighted_max_square_loss(torch.cat([scores, other])), apart)


# O6, O7 -------------------------------------------------------------------------------------------------------------------


def test_attention_maps_have_rows_of_sum_one_and_the_hand_computed_values() -> None:
    spatial, channel = (each.exp()[0] for each in LITERAL.log_maps(F))
    assert torch.allclose(
        spatial, torch.tensor([[0.4223, 0.1554, 0.4223], [0.0159, 0.8668, 0.1173], [0.1554, 0.4223, 0.4223]]), atol=1e-4
    )
    assert spatial.sum(0).tolist() == pytest.approx([0.5936, 1.4445, 0.9619], abs=1e-4)
    assert torch.allclose(channel, torch.tensor([[0.7311, 0.2689], [0.0180, 0.9820]]), atol=1e-4)


def test_attended_features() -> None:
    wanted = [[0.8446, 0.7330, 0.7311, 0.0180], [0.1332, 1.8509, 0.5379, 1.9640], [0.5777, 1.2670, 1, 1]]
    assert torch.allclose(LITERAL.attended(F)[0], torch.tensor(wanted), atol=1e-4)
    assert LITERAL.distance(F, torch.zeros_like(F)).item() == pytest.approx(0.888117, abs=1e-6)


def test_attention_of_nothing_of_much_and_of_permuted_positions() -> None:
    spatial, channel = (each.exp() for each in LITERAL.log_maps(torch.zeros(1, 3, 2)))
    assert torch.allclose(spatial, torch.full((1, 3, 3), 1 / 3)) and torch.allclose(channel, torch.full((1, 2, 2), 0.5))
    assert LITERAL.attended(torch.zeros(1, 3, 2)).abs().sum() == 0
    assert LITERAL.attended(100 * F).isfinite().all()
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(LITERAL.attended(F[:, order]), LITERAL.attended(F)[:, order])
    moved = LITERAL.log_maps(F[:, order])[0]
    assert torch.allclose(moved, LITERAL.log_maps(F)[0][:, order][:, :, order])


@pytest.mark.parametrize("kind", ["sqrt", "l2_energy", "cos"])
def test_normalised_energies_change_the_maps_and_not_the_values(kind: str) -> None:
    attention = Attention(kind, temperature=5.0)  # type: ignore[arg-type]
    even = torch.ones(1, 3, 2)
    assert torch.allclose(attention.attended(7 * even), torch.full((1, 3, 4), 7.0))
    if kind != "sqrt":
        assert torch.allclose(attention.log_maps(F)[0], attention.log_maps(9 * F)[0], atol=1e-5)
    assert attention.flatness(F)[0] > LITERAL.flatness(5 * F)[0]


def test_turning_the_order_of_channels_around() -> None:
    plain, turned = (Attention("none", channel_invert=flag).log_maps(F)[1][0] for flag in (False, True))
    assert (plain.argmax(1) == turned.argmin(1)).all()


def test_divergence_of_distributions() -> None:
    p, q = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    assert kl_of_logs(p, q).item() == pytest.approx(0.368064, abs=1e-6)
    assert kl_of_logs(q, p).item() == pytest.approx(0.510826, abs=1e-6)


def divergence(fake: Tensor, target: Tensor, **options: Any) -> Tensor:
    return divergence_of_maps(LITERAL.log_maps(fake), LITERAL.log_maps(target), **options)


def test_divergence_of_attention() -> None:
    other = torch.tensor([[[0.5, 0.0], [0.0, 0.5], [0.2, 0.1]]])
    assert divergence(F, F).item() == 0
    there, back = (divergence(F, other, direction=way) for way in ("fake_target", "target_fake"))
    assert there != back and torch.allclose(back, divergence(other, F))
    assert divergence(1000 * F, other).isfinite()
    both, turned = torch.cat([F, other]), torch.cat([other, F])
    assert divergence(both, turned, pairing="batch_mean").item() == pytest.approx(0, abs=1e-6)
    assert divergence(both, turned) > 0.1


def test_rows_are_positions() -> None:
    maps = torch.arange(12.0).view(1, 2, 2, 3)
    assert rows(maps)[0, 4].tolist() == [4, 10]


# O8, O9 -------------------------------------------------------------------------------------------------------------------


def test_statistics_of_one_channel() -> None:
    entered = torch.tensor([0.0, 2.0])
    found = [(entered.mean().view(1, 1), entered.var(correction=0).view(1, 1))]
    stored = [(torch.zeros(1), torch.ones(1))]
    assert statistics_loss(found, stored, "sum").item() == 1
    assert statistics_loss(found, [(torch.ones(1), torch.ones(1))]).item() == 0


def test_statistics_are_summed_or_averaged_over_a_layer_s_channels() -> None:
    found = [(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)), (torch.tensor([[2.0]]), torch.ones(1, 1))]
    stored = [(torch.zeros(2), torch.zeros(2)), (torch.zeros(1), torch.ones(1))]
    assert statistics_loss(found, stored, "sum").item() == 29
    assert statistics_loss(found, stored, "layer_mean").item() == 16.5
    assert statistics_loss(found, stored, "sum", 1).item() == pytest.approx(7)


def test_a_norm_has_no_gradient_where_nothing_differs() -> None:
    mean = torch.zeros(1, 2, requires_grad=True)
    loss = statistics_loss([(mean, torch.ones(1, 2))], [(torch.zeros(2), torch.ones(2))], "sum", 1)
    assert gradient(loss, mean) == [0, 0]


def test_difference_of_outputs() -> None:
    scores = torch.randn(3, 5, 2, 2)
    assert output_distance(scores, scores + 0.5).item() == pytest.approx(0.5)
    assert output_distance(scores, scores + 0.5, reduce="literal").item() == pytest.approx(2.0)
    assert output_distance(scores, scores + 0.5, "prob").item() == pytest.approx(0, abs=1e-6)


# O10, O11 -----------------------------------------------------------------------------------------------------------------


def cut_of_entropies(table: list[list[float]]) -> Tensor:
    """Patches [K², B, 2, 1, 1] of binary predictions with these entropies in bits; rows are images."""
    p = torch.linspace(0.5, 1 - 1e-6, 20001, dtype=torch.float64)
    bits = -(p * p.log() + (1 - p) * (1 - p).log()) / math.log(2)
    chosen = torch.stack([torch.stack([p[(bits - value).abs().argmin()] for value in row]) for row in table])
    return torch.stack([chosen, 1 - chosen]).log().permute(2, 1, 0)[..., None, None]


def test_patches_are_sorted_at_every_position_of_their_own() -> None:
    table = [[0.1, 0.9, 0.5, 0.2], [0.4, 0.3, 0.6, 0.2], [0.2, 0.8, 0.1, 0.7], [0.3, 0.1, 0.9, 0.6]]
    entropies = entropy(cut_of_entropies(table).flatten(0, 1)).flatten(1).mean(1).view(4, 4)
    easy, hard = halves(entropies)
    assert easy.tolist() == [[0, 2], [1, 3], [0, 2], [0, 1]]
    assert hard.tolist() == [[1, 3], [0, 2], [1, 3], [2, 3]]
    whole = torch.tensor(table).mean(1).argsort(stable=True)[:2]
    assert sorted(whole.tolist()) != easy[0].tolist()


def test_entropies_of_patches_are_those_of_the_patches_cut_out() -> None:
    scores = torch.randn(2, 3, 8, 13)
    cut = entropy(patches(scores, 3).flatten(0, 1)).mean((1, 2)).view(9, 2)
    assert torch.allclose(patch_entropies(Prediction.of(scores), 3), cut, atol=1e-6)


def test_an_odd_batch_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="batch of 3"):
        halves(torch.zeros(4, 3))


@pytest.mark.parametrize(("k", "size"), [(3, (85, 170)), (4, (64, 128)), (5, (51, 102))])
def test_patches_tile_what_is_left_of_the_map(k: int, size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, 256, 512)
    cut = patches(maps, k)
    assert cut.shape == (k * k, 2, 3, *size)
    lines = [torch.cat(list(cut[row * k : (row + 1) * k]), dim=3) for row in range(k)]
    assert torch.equal(torch.cat(lines, dim=2), maps[:, :, : k * size[0], : k * size[1]])


@pytest.mark.parametrize(
    ("logit", "loss", "slope"), [(0.0, 0.693147, 0.5), (2.0, 2.126928, 0.880797), (-2.0, 0.126928, 0.119203)]
)
def test_the_model_descends_towards_easy(logit: float, loss: float, slope: float) -> None:
    hard = torch.tensor([logit], requires_grad=True)
    found = deceiving(hard)
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert gradient(found, hard) == pytest.approx([slope], abs=1e-6)
    assert gradient(deceiving(hard, "minimax"), hard)[0] > 0


def test_the_discriminator_pulls_hard_up_and_easy_down() -> None:
    hard, easy = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    loss = telling_apart(hard, easy)
    assert loss.item() == pytest.approx(1.386294, abs=1e-6)
    assert [each.item() for each in torch.autograd.grad(loss, [hard, easy])] == pytest.approx([-0.5, 0.5])


def test_what_a_discriminator_is_shown() -> None:
    scores = torch.randn(2, 3, 4, 5)
    seen = Prediction.of(scores)
    assert torch.equal(shown_to_discriminator(seen, "logits"), scores)
    assert torch.allclose(shown_to_discriminator(seen), scores.softmax(1))
    assert torch.allclose(shown_to_discriminator(seen, "self_info").sum(1), entropy(scores), atol=1e-6)


# O18 ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("portion", "theta"), [(0.2, 0.9), (0.5, 0.8), (0.1, 1.0)])
def test_thresholds_of_a_class(portion: float, theta: float) -> None:
    sure = torch.tensor([0.5, 0.9, 0.7, 0.6, 0.8])
    found = class_thresholds(sure, torch.zeros(5, dtype=torch.long), 2, portion)
    assert found.tolist() == pytest.approx([theta, 1.0])


def test_pixels_are_labelled_by_their_class_s_threshold() -> None:
    scores = torch.tensor([0.6, 0.4]).log().view(1, 2, 1, 1)
    assert pseudo_labels(scores, torch.tensor([0.9, 0.3]), 255).item() == 1
    assert pseudo_labels(scores, torch.tensor([0.9, 0.5]), 255).item() == 255
