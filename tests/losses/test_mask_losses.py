"""Masks: soft and hard intersection over union, its gradient, straight-through sampling (spec dmg, section 11)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dfdgbench.errors import ConfigError
from dfdgbench.losses.masks import (
    domain_pairs,
    overlap,
    pairwise_iou,
    sparsity,
    straight_through,
    thresholded,
    unit_shares,
)


def masks(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def slow_iou(one: Tensor, other: Tensor, smoothing: float) -> float:
    """Unit by unit, as the formula is written."""
    both = sum(float(p * q) for p, q in zip(one, other, strict=True))
    either = sum(float(p + q - p * q) for p, q in zip(one, other, strict=True))
    return (both + smoothing) / (either + smoothing)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((1, 0, 1), (1, 0, 1), 1.0),
        ((1, 0), (0, 1), 0.0),
        ((1, 0), (1, 1), 0.5),
        ((0.5, 0.5), (0.5, 0.5), 1 / 3),
        ((0.9, 0.9), (0.9, 0.9), 0.818182),
        ((0.9, 0.1), (0.9, 0.1), 0.694915),
        ((0.9, 0.1), (0.1, 0.9), 0.098901),
        ((0.8, 0.6, 0.2), (0.5, 0.5, 0.5), 0.347826),
    ],
)
def test_the_iou_of_two_masks(one, other, expected):
    assert float(pairwise_iou(masks(one, other), 0.0)) == pytest.approx(expected, abs=1e-6)
    assert float(pairwise_iou(masks(other, one), 0.0)) == pytest.approx(expected, abs=1e-6)


def test_smoothing_makes_disjoint_masks_nearly_0_and_empty_ones_1():
    assert float(pairwise_iou(masks((1, 0), (0, 1)))) == pytest.approx(5e-7, rel=1e-5)
    empty = masks((0, 0), (0, 0))
    assert float(pairwise_iou(empty)) == 1
    assert math.isnan(float(pairwise_iou(empty, 0.0)))


@pytest.mark.parametrize("smoothing", [0.0, 1e-6, 0.1])
def test_every_pair_agrees_with_the_formula_unit_by_unit(smoothing):
    soft = torch.rand(4, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slow = [slow_iou(soft[i], soft[j], smoothing) for i, j in domain_pairs(4)]
    assert pairwise_iou(soft, smoothing).tolist() == pytest.approx(slow, rel=1e-12)
    assert domain_pairs(4) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def test_it_lies_between_0_and_1_and_neither_the_order_nor_the_number_of_copies_of_units_matters():
    random = torch.Generator().manual_seed(1)
    soft = torch.rand(3, 40, dtype=torch.float64, generator=random)
    values = pairwise_iou(soft, 0.0)
    assert 0 <= float(values.min()) <= float(values.max()) <= 1
    assert torch.allclose(pairwise_iou(soft[:, torch.randperm(40, generator=random)], 0.0), values)
    assert torch.allclose(pairwise_iou(soft.repeat(1, 3), 0.0), values)


def test_the_mean_over_pairs_is_the_release_and_the_sum_the_paper():
    three = masks((1, 1, 0, 0), (1, 0, 1, 0), (1, 1, 1, 1))
    assert pairwise_iou(three, 0.0).tolist() == pytest.approx([1 / 3, 1 / 2, 1 / 2])
    assert float(overlap(three, "mean", 0.0)) == pytest.approx(4 / 9)
    assert float(overlap(three, "sum", 0.0)) == pytest.approx(4 / 3)
    assert float(overlap(three)) == pytest.approx(4 / 9, abs=1e-6)


def test_wrong_arguments_are_told():
    with pytest.raises(ConfigError, match=r"'max'\. Type one of: mean, sum"):
        overlap(masks((1, 0), (0, 1)), "max")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="2 or more domains"):
        overlap(masks((1, 0)))


def test_logits_of_zero_and_logits_between_0_and_1():
    assert float(overlap(torch.sigmoid(torch.zeros(3, 5)))) == pytest.approx(1 / 3, abs=1e-6)
    logits = torch.rand(3, 9216, generator=torch.Generator().manual_seed(2))
    soft = torch.sigmoid(logits)
    assert float(overlap(soft)) == pytest.approx(0.449396, abs=0.005)
    hard = thresholded(soft[:, (logits > 0).all(0)])
    assert pairwise_iou(hard).tolist() == [1, 1, 1]
    assert float(hard.mean()) == 1
    assert float(soft.mean()) == pytest.approx(math.log((1 + math.e) / 2), abs=0.002)


def test_the_gradient_of_the_iou_and_its_sign():
    soft = torch.rand(2, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    pairwise_iou(soft, 0.0).sum().backward()
    p, q = soft.detach()
    both, either = (p * q).sum(), (p + q - p * q).sum()
    by_hand = (q * either - both * (1 - q)) / either**2
    assert torch.allclose(soft.grad[0], by_hand, atol=1e-14)
    assert torch.equal(soft.grad[0] > 0, q > both / (both + either))


def test_sparsity_is_the_sum_of_all_soft_masks():
    soft = masks((0.25, 0.5), (1, 0))
    assert float(sparsity(soft)) == 1.75
    logits = torch.zeros(2, 3, requires_grad=True)
    sparsity(torch.sigmoid(logits)).backward()
    assert logits.grad.unique().tolist() == [0.25]


def test_a_threshold_is_exceeded():
    assert thresholded(torch.sigmoid(torch.tensor([0.0, 1e-3, -1e-3]))).tolist() == [0, 1, 0]


def test_units_are_off_shared_or_specific():
    shares = unit_shares(masks((1, 0, 1, 0, 1), (1, 0, 0, 0, 1), (1, 0, 0, 1, 1)))
    assert {name: float(share) for name, share in shares.items()} == pytest.approx(
        {"off": 0.2, "shared": 0.4, "specific": 0.4}
    )


def test_straight_through_by_hand():
    logits = torch.tensor([0.0, math.log(3)], dtype=torch.float64, requires_grad=True)
    entered = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)
    soft = torch.sigmoid(logits)
    assert soft.tolist() == pytest.approx([0.5, 0.75])
    out = (weight * straight_through(torch.tensor([1.0, 0.0], dtype=torch.float64), soft) * entered).sum()
    out.backward()
    assert out.item() == 6
    assert logits.grad.tolist() == pytest.approx([1.5, -0.75])
    assert weight.grad.tolist() == [2, 0]
    assert entered.grad.tolist() == [3, 0]


def test_the_value_forwards_is_the_hard_mask_to_the_bit():
    soft = torch.rand(10_000, generator=torch.Generator().manual_seed(4))
    hard = (soft > 0.3).float()
    assert torch.equal(straight_through(hard, soft), hard)


def test_the_gradient_to_the_logits_of_a_linear_layer_does_not_depend_on_what_was_drawn():
    entered = torch.tensor([[2.0, -1.0, 0.5]])
    gradients = []
    for drawn in ((1.0, 0.0, 1.0), (0.0, 0.0, 1.0)):
        logits, weight = (
            torch.tensor([0.1, 0.2, -0.3], requires_grad=True),
            torch.tensor([3.0, 4.0, 5.0], requires_grad=True),
        )
        (entered * straight_through(torch.tensor(drawn), torch.sigmoid(logits)) * weight).sum().backward()
        gradients.append((logits.grad, weight.grad))
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert not torch.equal(gradients[0][1], gradients[1][1])
